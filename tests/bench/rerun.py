"""Running an unchanged workflow again, beside the first run: whole processes, the demo with a short training.

python tests/bench/rerun.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import record

ROOT = Path(__file__).parent.parent.parent


def cpu_seconds(arguments: list[str]) -> tuple[float, dict[str, str]]:
    """Run the command line; return the CPU seconds of the process and how each node ended."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "graph_runtime", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    after = os.times()
    nodes = json.loads(done.stdout.splitlines()[-1])["nodes"]
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, {id: node["state"] for id, node in nodes.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = ["--cache", f"{name}/cache", "--output", f"{name}/out", "--json", "--set", "train.max_steps=60"]
        first, states = cpu_seconds(["run", "workflows/lora.json", *folder])
        again, cached = cpu_seconds(["run", "workflows/lora.json", *folder])
    assert "cached" not in states.values()
    assert set(cached.values()) == {"cached"}
    record("demo, first run of 60 steps", first, "s of CPU")
    record("demo, unchanged workflow again", again, "s of CPU")
    record("demo, again beside the first run", 100 * again / first, "%")


if __name__ == "__main__":
    main()
