"""Every method that trains in steps goes on after SIGKILL where its checkpoint was, and ends with the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from graph_runtime.discovery import load_palette
from graph_runtime.workflow import read_workflow
from tests.shell import ROOT, options

pytestmark = pytest.mark.slow

TINY = {"max_steps": 8, "checkpoint_every": 2, "batch_size": 2, "num_class_images": 2, "num_inference_steps": 2}
KILLED_AFTER = 5
FEW = {"all.folder": "tests/data/emoji", "base.folder": "tests/data/emoji", "varied.scenes_per_picture": 2}
METHODS: dict[str, tuple[str, dict[str, str | int]]] = {
    "textual_inversion": ("train", {}),
    "dreamartist": ("train", {}),
    "custom_diffusion": ("train_lion", {}),
    "hypernetwork": ("train", {}),
    "fine_tune": ("train", {}),
    "dreambooth": ("train", {}),
    "clip_inversion": ("invert", {}),
    "train_image_variation": ("train", {}),
    "train_base_model": ("clip", {**FEW, "scenes.scenes_per_picture": 2, "unet.preview_every": 0}),
}
"""The training that is killed, and changes that make it take seconds."""


def command(name: str, folder: Path) -> list[str]:
    path, palette = ROOT / "workflows" / f"{name}.json", load_palette().types
    changes = {
        f"{id}.{field}": value
        for id, entry in read_workflow(path).nodes.items()
        for field, value in TINY.items()
        if field in palette[entry.type].cls.model_fields
    } | METHODS[name][1]
    places = ["--workspace", str(ROOT), "--output", str(folder / "out"), "--cache", str(folder / "cache")]
    start = [sys.executable, "-m", "graph_runtime", "run", str(path), "--json", "--target", "save"]
    return [*start, *places, *options(changes)]


def finish(name: str, folder: Path) -> tuple[list[int], dict[str, str]]:
    """Run to the end; return the steps that the training made and the artifacts' hashes."""
    done = subprocess.run(command(name, folder), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    training = METHODS[name][0]
    steps = [event["step"] for event in events if event["type"] == "node_metric" and event["node"] == training and event["step"]]
    return steps, {artifact["path"].rpartition("/")[2]: artifact["sha256"] for artifact in events[-1]["artifacts"]}


@pytest.mark.parametrize("name", METHODS)
def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    _, whole = finish(name, tmp_path / "whole")
    process = subprocess.Popen(command(name, tmp_path / "broken"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == "node_metric" and event["node"] == METHODS[name][0] and event["step"] == KILLED_AFTER:
            break
    process.kill()
    process.stdout.close()
    process.wait()
    steps, artifacts = finish(name, tmp_path / "broken")
    assert artifacts == whole
    assert 1 < steps[0] <= KILLED_AFTER + 2
