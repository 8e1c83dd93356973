"""Figures of benchmarks: each is printed and kept as a line of JSON, and the last two of each can be compared.

python -m tests.bench.figures [FILE]
"""

import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from graph_runtime.provenance import library_versions

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "outputs" / "bench.jsonl"


def record(name: str, value: float, unit: str, file: Path = FILE) -> None:
    """Print a figure and append it to the file, with what it depends on besides the program."""
    print(f"{name}: {value:.4g} {unit}", flush=True)
    line = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "name": name, "value": value, "unit": unit, **_here()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


@cache
def _here() -> dict[str, Any]:
    """Return the commit, the machine, its threads and the versions of libraries."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "versions": library_versions(),
    }


def compared(lines: list[dict[str, Any]]) -> list[str]:
    """Return for every figure its last value beside the one before, oldest figure first."""
    series: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        series[f"{line['name']}, {line['threads'] or 'all'} threads"].append(line)
    told: list[str] = []
    for name, (*earlier, last) in series.items():
        if not earlier:
            told.append(f"{name}: {last['value']:.4g} {last['unit']} ({last['commit']}), for the first time")
            continue
        before = earlier[-1]
        ratio = f"{last['value'] / before['value']:.3f} of" if before["value"] else "after"
        told.append(
            f"{name}: {last['value']:.4g} {last['unit']} ({last['commit']}), {ratio} {before['value']:.4g} ({before['commit']})"
        )
    return told


def main(file: Path) -> None:
    """Print the comparison."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    print("\n".join(compared([json.loads(line) for line in lines])) or f"{file} has no figures: run `make bench`.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
