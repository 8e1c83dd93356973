"""The command line inside the test's own process, which has torch loaded already."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph_runtime.__main__ import main

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "tests" / "data" / "pictures"
SMALL = {
    "images.folder": str(PICTURES),
    "images.resolution": 64,
    "inject.rank": 2,
    "train.max_steps": 6,
    "train.batch_size": 2,
    "train.checkpoint_every": 2,
    "train.preview_every": 0,
    "sample.prompts": "flat style owl",
    "sample.num_inference_steps": 2,
    "sample.width": 64,
    "sample.height": 64,
}
"""Makes the demo take seconds."""


@dataclass(frozen=True)
class Outcome:
    """Exit status and events of a run."""

    status: int
    events: list[dict[str, Any]]

    @property
    def states(self) -> dict[str, str]:
        return {id: node["state"] for id, node in self.events[-1]["nodes"].items()}

    @property
    def artifacts(self) -> dict[str, str]:
        """sha256 by file name."""
        return {Path(artifact["path"]).name: artifact["sha256"] for artifact in self.events[-1]["artifacts"]}

    def of(self, kind: str, node: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("type") == kind and event.get("node") == node]


def options(changes: dict[str, Any]) -> list[str]:
    return [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]


def run(workflow: Path, folder: Path, *, cache: Path | None = None, device: str = "cpu", **changes: Any) -> Outcome:
    """Run a workflow; `changes` are fields as `node__field=value`."""
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    arguments = [
        "run",
        str(workflow),
        "--json",
        "--device",
        device,
        "--workspace",
        str(ROOT),
        "--output",
        str(folder / "out"),
        *options(fields),
    ]
    captured = io.StringIO()
    with contextlib.redirect_stdout(captured):
        status = main([*arguments, "--cache", str(cache or folder / "cache")])
    return Outcome(status, [json.loads(line) for line in captured.getvalue().splitlines()])


def run_small(folder: Path, **changes: Any) -> Outcome:
    """Run the demo at a small size."""
    small = {name.replace(".", "__"): value for name, value in SMALL.items()}
    return run(ROOT / "workflows" / "lora.json", folder, **{**small, **changes})
