"""A server's supervisor under test: its folders, its devices, and the changes that it reports."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from graph_runtime import events as ev
from graph_runtime.queue import Run
from graph_runtime.supervisor import Change, RunChanged, RunEvent, Supervisor
from graph_runtime.workflow import Workflow, workflow_from_json
from tests.graph_runtime.conftest import document
from tests.shell import ROOT

HANGING = 120
"""Seconds after which a test that waits for something is broken."""
ENTRY_POINT = "[latentloom.nodes]\nsample_package = tests.graph_runtime.sample_package\n"


def install_sample_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that start from now on find the package `sample_package` as if it had been installed."""
    info = folder / "site" / "sample_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(info.parent), str(ROOT)]))


def workflow(name: str = "line", **nodes: tuple[str, dict[str, Any]]) -> Workflow:
    """Nodes in a line, each wired to the next by its text."""
    ids = list(nodes)
    wires = [(f"{a}.output", f"{b}.text") for a, b in itertools.pairwise(ids)]
    return workflow_from_json(document(nodes, wires, name=name))


class SupervisedServer:
    """One supervisor after another in the same folders."""

    def __init__(self, folder: Path, workspace: Path | None = None) -> None:
        self.folder = folder
        self.workspace = workspace or folder
        self.received: list[Change] = []
        self._news = asyncio.Event()

    @asynccontextmanager
    async def open(self, devices: tuple[str, ...] = ("cpu",), grace: float = 60.0) -> AsyncIterator[Supervisor]:
        state, output, cache = (self.folder / name for name in ("state", "out", "cache"))
        supervisor = Supervisor(self.workspace, state, output, cache, devices, grace_seconds=grace)
        supervisor.listen(self._listen)
        await supervisor.start()
        try:
            yield supervisor
        finally:
            await supervisor.stop()

    def _listen(self, change: Change) -> None:
        self.received.append(change)
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds, checking it after every change."""
        async with asyncio.timeout(HANGING):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def state(self, run: Run, *states: str) -> Run:
        """Wait until a run is reported to be in one of these states."""
        await self.until(lambda: self.states(run)[-1:] and self.states(run)[-1].state in states)
        return self.states(run)[-1]

    async def event(self, run: Run, kind: type[ev.Event], count: int = 1) -> None:
        """Wait for so many events of a kind."""

        def there() -> bool:
            last = self.states(run)[-1:]
            assert not (last and last[0].finished), f"it ended before that: {last}"
            return sum(isinstance(event, kind) for event in self.events(run)) >= count

        await self.until(there)

    def states(self, run: Run) -> list[Run]:
        return [change.run for change in self.received if isinstance(change, RunChanged) and change.run.id == run.id]

    def events(self, run: Run) -> list[ev.AnyEvent]:
        return [change.event for change in self.received if isinstance(change, RunEvent) and change.run == run.id]
