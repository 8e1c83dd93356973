"""A training killed at any moment goes on where it was and ends with the same bytes."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shell import ROOT, SMALL, options

pytestmark = pytest.mark.slow

STEPS = 14
LOSSES_SEEN = (1, 4, 9)
"""A process is killed after so many losses of its own; the first dies before its first checkpoint is due."""


def command(folder: Path) -> list[str]:
    changes = {**SMALL, "train.max_steps": STEPS, "train.checkpoint_every": 3}
    start = [sys.executable, "-m", "graph_runtime", "run", str(ROOT / "workflows" / "lora.json"), "--json"]
    return [
        *start,
        "--workspace",
        str(ROOT),
        "--output",
        str(folder / "out"),
        "--cache",
        str(folder / "cache"),
        *options(changes),
    ]


def kill_after(folder: Path, losses: int, wait: float) -> int:
    """Start the run, kill it a moment after its n-th loss, and return the last step it reported."""
    process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen, step = 0, 0
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == "node_metric":
            seen, step = seen + 1, event["step"]
            if seen == losses:
                break
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return step


def finish(folder: Path) -> tuple[list[int], dict[str, str]]:
    """Run to the end; return the steps made and the artifacts' hashes."""
    done = subprocess.run(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [event["step"] for event in events if event["type"] == "node_metric"]
    return steps, {artifact["node"]: artifact["sha256"] for artifact in events[-1]["artifacts"]}


def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole_steps, whole = finish(tmp_path / "whole")
    assert whole_steps == list(range(1, STEPS + 1))
    draw = random.Random(7)
    broken = tmp_path / "broken"
    for losses in LOSSES_SEEN:
        kill_after(broken, losses, draw.uniform(0, 0.2))
        assert not (broken / "out" / "line-style.safetensors").exists()
    steps, artifacts = finish(broken)
    assert artifacts == whole
    assert steps[-1] == STEPS
    assert steps[0] > 1, "the last process began from the start"


def test_a_process_killed_while_it_caches_leaves_a_sound_cache(tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == "node_progress" and json.loads(line)["node"] == "latents":
            break
    process.kill()
    process.stdout.close()
    process.wait()
    _, artifacts = finish(tmp_path)
    assert set(artifacts) == {"save", "pictures"}
