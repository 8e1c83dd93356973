"""The server's side of runs: a queue that survives restarts, and a worker process for every device."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from graph_runtime import events as ev
from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.eventlog import EventLog, end_log, stored_events
from graph_runtime.lane import Lane, LaneContext
from graph_runtime.locks import FileLock
from graph_runtime.queue import Run, RunQueue, RunStateError
from graph_runtime.staging import sweep
from graph_runtime.workflow import Workflow

MAX_ATTEMPTS = 3
"""The number of attempts after which a run, during which the server died each time, is not started again."""


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunEvent(_Change):
    """An event of a run."""

    type: Literal["event"] = "event"
    run: str
    event: ev.AnyEvent


class RunChanged(_Change):
    """A run was queued, moved, started, ended, or changed in another way."""

    type: Literal["run"] = "run"
    run: Run


class RunRemoved(_Change):
    """A run left the queue or the history."""

    type: Literal["removed"] = "removed"
    run: str


Change = RunEvent | RunChanged | RunRemoved


@dataclass(frozen=True)
class WorkerStatus:
    """The state of a device's worker; `pid` is None while there is none."""

    device: str
    pid: int | None
    run: str | None


class Supervisor:
    """Queues runs and executes them in workers; call it on the event loop's thread only."""

    def __init__(
        self,
        workspace_root: Path,
        state: Path,
        output: Path,
        cache: Path,
        devices: Sequence[str],
        *,
        grace_seconds: float = 10.0,
    ) -> None:
        """Open the queue in the folder `state`; raise RunStateError when another server has it."""
        state.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(state / "server.lock")
        if not self._lock.acquire():
            raise RunStateError(f"Another server runs with {workspace_root}.", "Use that one, or stop it first.")
        sweep(output)
        self._queue = RunQueue(state / "queue.sqlite")
        self._devices = list(devices)
        self._grace = grace_seconds
        # -P: the current folder is not searched for modules
        module = [sys.executable, "-P", "-m", "graph_runtime.worker"]
        self._command = [*module, "--workspace", str(workspace_root), "--output", str(output), "--cache", str(cache)]
        self._lane_context = LaneContext(self._queue, output / "runs", {}, self._publish_run, self._publish_event)
        self._lanes: list[Lane] = []
        self._listeners: list[Callable[[Change], None]] = []
        self._positions: dict[str, int | None] = {}

    @property
    def problems(self) -> list[Problem]:
        """Return the problems of the stored queue."""
        return self._queue.problems

    async def start(self) -> None:
        """Queue again the runs that a dead server left running, and start the lanes."""
        for run in reversed(self._queue.running()):
            if run.attempts >= MAX_ATTEMPTS:
                self._give_up(run)
            else:
                self._queue.requeue(run.id, orderly=False)
        for run in self._queue.waiting():
            if not self._serves(run.device):
                problem = Problem(f"there is no device {run.device} any more.", remedy="Choose another device.")
                self._queue.finish(run.id, "failed", [problem], was="queued")
            elif run.folder:
                self._lane_context.logs[run.id] = self._log_of(run.id, self._lane_context.runs / run.folder)
        self._positions = {run.id: run.position for run in self._queue.waiting()}
        self._lanes = [Lane(device, self._command, self._lane_context, self._grace) for device in self._devices]

    async def stop(self) -> None:
        """Ask workers to stop, then kill them; their runs are queued again and resume at the next start."""
        for error in await asyncio.gather(*(lane.stop() for lane in self._lanes), return_exceptions=True):
            if error:
                logging.getLogger(__name__).error("A worker could not be stopped.", exc_info=error)
        self._lanes.clear()
        self._queue.close()
        self._lock.release()

    def submit(self, document: Workflow, targets: list[str], device: str) -> Run:
        """Put a run at the end of the queue."""
        if not self._serves(device):
            raise RunStateError(f"There is no device {device} here.", f"There are: auto, {', '.join(self._devices)}.")
        return self._announced(self._queue.add(document, targets, device))

    def cancel(self, id: str) -> Run:
        """Remove a run from the queue, or ask it to stop and kill its worker after the grace period."""
        lane = next((lane for lane in self._lanes if lane.run == id), None)
        if lane:
            lane.cancel()
            return self._queue.get(id)
        self._queue.cancel(id)
        self._lane_context.logs.pop(id, None)
        return self._announced(id)

    def retry(self, id: str) -> Run:
        """Queue a new run of the same document, targets and device."""
        run = self._queue.get(id)
        return self.submit(self._queue.document(id), run.targets, run.device)

    def move(self, id: str, position: int) -> None:
        """Move a queued run to a position, counted from 0."""
        self._queue.move(id, position)
        self._publish_run(id)

    def remove(self, id: str) -> None:
        """Delete a run that is not running; its files stay."""
        self._queue.remove(id)
        self._lane_context.logs.pop(id, None)
        self._publish(RunRemoved(run=id))
        self._publish_moved()

    def get(self, id: str) -> Run:
        """Return a run; raise KeyError when there is none."""
        return self._queue.get(id)

    def document(self, id: str) -> Workflow:
        """Return a run's document; raise KeyError when there is no such run."""
        return self._queue.document(id)

    def document_text(self, id: str) -> str:
        """Return a run's document as stored JSON; raise KeyError when there is no such run."""
        return self._queue.document_text(id)

    async def events(self, id: str, after: int = -1) -> list[str]:
        """Return the JSON of a run's events with `seq` > `after`, in order, up to the last one that listeners have received.

        An event that was lost on a full disk is an empty text.
        """
        folder = self.folder(id)
        stored = await asyncio.to_thread(stored_events, folder) if folder else []
        log = self._lane_context.logs.get(id)
        return stored[after + 1 : log.next_seq if log else None]

    def folder(self, id: str) -> Path | None:
        """Return a run's folder; None before there is one."""
        name = self._queue.get(id).folder
        return self._lane_context.runs / name if name else None

    def listen(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call `callback` on the event loop for every change; return a function that ends this."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def status(self) -> list[WorkerStatus]:
        """Return the state of every worker."""
        return [WorkerStatus(lane.device, lane.pid, lane.run) for lane in self._lanes]

    def list(self, before: float | None = None, limit: int = 100) -> list[Run]:
        """Return the running runs, the queue in order, and `limit` of the history, newest end first.

        With `before`, return only that part of the history that ended (`finished`) earlier.
        """
        active = [] if before is not None else [*self._queue.running(), *self._queue.waiting()]
        return active + self._queue.history(before, limit)

    def _serves(self, device: str) -> bool:
        return device == "auto" or device in self._devices

    def _give_up(self, run: Run) -> None:
        remedy = "Retry it when the cause is found: a training goes on from its last checkpoint."
        problem = Problem(f"the server ended {run.attempts} times during this run.", remedy=remedy)
        if run.folder:
            with contextlib.suppress(WorkflowError):
                end_log(self._lane_context.runs / run.folder, self._queue.document(run.id).nodes, problem)
        self._queue.finish(run.id, "failed", [problem])

    def _log_of(self, id: str, folder: Path) -> EventLog:
        return EventLog(folder, lambda event: self._publish_event(id, event), next_seq=len(stored_events(folder)))

    def _announced(self, id: str) -> Run:
        self._publish_run(id)
        for lane in self._lanes:
            lane.wake()
        return self._queue.get(id)

    def _publish_run(self, id: str) -> None:
        """Publish a changed run, and those whose place in the queue changed with it."""
        run = self._queue.get(id)
        self._positions[id] = run.position
        self._publish(RunChanged(run=run))
        self._publish_moved()

    def _publish_moved(self) -> None:
        waiting = self._queue.waiting()
        for run in waiting:
            if self._positions.get(run.id) != run.position:
                self._publish(RunChanged(run=run))
        self._positions = {run.id: run.position for run in waiting}

    def _publish_event(self, id: str, event: ev.AnyEvent) -> None:
        self._publish(RunEvent(run=id, event=event))

    def _publish(self, change: Change) -> None:
        for callback in tuple(self._listeners):
            try:
                callback(change)
            except Exception:  # an error in a listener must not end a run
                logging.getLogger(__name__).exception("A listener failed.")
