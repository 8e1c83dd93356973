"""A cache, a workspace, and one call that runs a document of toy nodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from graph_runtime import events as ev
from graph_runtime.cache import Cache
from graph_runtime.session import prepare, run
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace
from tests.graph_runtime import toys


def document(nodes: dict[str, Any], wires: list[tuple[str, str]] = (), **more: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """A workflow document from `{id: (type, fields)}` and (from, to) pairs."""
    entries = {id: {"type": kind, "fields": fields} for id, (kind, fields) in nodes.items()}
    return {"format": "latentloom/1", "nodes": entries, "wires": [{"from": a, "to": b} for a, b in wires], **more}


@dataclass
class Lab:
    """Runs documents in one workspace with one cache."""

    workspace: Workspace
    cache: Cache
    output: Path
    events: list[ev.Event] = field(default_factory=list)
    stop_requested: Callable[[], bool] = lambda: False

    def run(self, content: dict[str, Any], targets: list[str] | None = None) -> ev.RunFinished:
        toys.CALLS.clear()
        self.events.clear()
        prepared = prepare(workflow_from_json(content), toys.PALETTE, self.workspace, self.cache, targets or [])
        listener, stop = self.events.append, self.stop_requested
        return run(prepared, self.cache, self.output, device="cpu", listener=listener, stop_requested=stop)

    def prepare(self, content: dict[str, Any], targets: list[str] | None = None) -> Any:
        return prepare(workflow_from_json(content), toys.PALETTE, self.workspace, self.cache, targets or [])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "workspace").mkdir()
    cache = Cache(tmp_path / "cache")
    made = Lab(Workspace(tmp_path / "workspace"), cache, tmp_path / "output")
    yield made
    made.cache.close()
