"""A merge killed at any moment, or out of space, leaves no file and runs again."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.shell import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        tensors = {f"model.w{n:02}": torch.full((1000, 1000), n + ord(name), dtype=torch.float16) for n in range(30)}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    return tmp_path


def command(folder: Path) -> list[str]:
    settings = ["--set=a.path=a.safetensors", "--set=b.path=b.safetensors", "--set=merge.ratio=0.25", "--json"]
    places = [f"--workspace={folder}", f"--output={folder / 'out'}", f"--cache={folder / 'cache'}"]
    return [sys.executable, "-m", "graph_runtime", "run", str(ROOT / "workflows" / "merge_weighted.json"), *settings, *places]


def made(folder: Path) -> list[Path]:
    """All merged files, in the output, the cache, and where a file is before it is whole."""
    return [path for place in ("out", "cache") for path in (folder / place).rglob("*.safetensors")]


def test_a_merge_killed_at_any_moment_leaves_no_file_and_runs_again(folder: Path) -> None:
    for seen in (1, 2):
        process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["type"] == "node_progress":
                break
        time.sleep(0.01 * seen)
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        assert not (folder / "out" / "merged.safetensors").exists()
        assert all(path.parent.name == "temporary" for path in made(folder))
    subprocess.run(command(folder), cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = load_file(folder / "out" / "merged.safetensors")
    assert {name: float(tensor.min()) for name, tensor in found.items()} == {f"model.w{n:02}": n + 97.25 for n in range(30)}
    assert not [path for path in made(folder) if path.parent.name == "temporary"]


def test_a_merge_that_finds_no_space_says_so_once_and_leaves_nothing(folder: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 10**7, resource.RLIM_INFINITY))

    done = subprocess.run(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
    failures = [event for event in map(json.loads, done.stdout.splitlines()) if event["type"] == "node_failed"]
    assert done.returncode != 0
    assert len(failures) == 1
    assert "larger than it may be" in failures[0]["message"]
    assert not made(folder)
