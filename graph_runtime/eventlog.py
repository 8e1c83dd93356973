"""The stored events of a run: the server reads and delivers them, and ends the log of a worker that died."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from graph_runtime import events as ev
from graph_runtime.errors import Problem
from graph_runtime.locks import FileLock
from graph_runtime.runs import EVENTS, LOCK, filled_lines


class EventLog:
    """A run's growing log: delivers every event once and in order, whether the worker sends it or only the file has it."""

    def __init__(self, folder: Path, deliver: Callable[[ev.AnyEvent], None], next_seq: int = 0) -> None:
        self.folder = folder
        self.next_seq = next_seq
        """`seq` of the next event to deliver."""
        self._deliver = deliver

    def receive(self, event: ev.AnyEvent) -> None:
        """Deliver an event from the worker, after earlier events that did not arrive."""
        if event.seq > self.next_seq:
            self.catch_up(event.seq)
        if event.seq >= self.next_seq:
            self.next_seq = event.seq + 1
            self._deliver(event)

    def catch_up(self, end: int | None = None) -> None:
        """Deliver logged events before `seq` `end` that no listener has received."""
        for line in stored_events(self.folder)[self.next_seq : end]:
            self.next_seq += 1
            with contextlib.suppress(ValueError):
                self._deliver(ev.EVENT.validate_json(line))


def stored_events(folder: Path) -> list[str]:
    """Return the log's lines, the event with `seq` n, or nothing, at place n; a half-written last line is left out."""
    try:
        lines = (folder / EVENTS).read_bytes().split(b"\n")
    except OSError:
        return []
    return [line.decode("utf-8", "replace") for line in lines[:-1]]


def end_log(folder: Path, nodes: Iterable[str], failure: Problem | None, first: int = 0) -> str:
    """End the log of a dead worker: append the failure of the node that was running, if any, and the end of the run.

    The appended events get a `seq` of at least `first`. Returns the node that was running. Leaves a log alone that has its
    end or that a living process writes.
    """
    lock = FileLock(folder / LOCK)
    with contextlib.suppress(OSError):
        if lock.acquire():
            try:
                return _end(folder, list(nodes), failure, first)
            finally:
                lock.path.unlink(missing_ok=True)
                lock.release()
    return ""


def _end(folder: Path, nodes: list[str], failure: Problem | None, first: int) -> str:
    outcomes, running, over = _read_attempt(folder)
    if over:
        return ""
    seq = filled_lines(folder / EVENTS, first)
    closing: list[ev.Event] = []
    if failure and running:
        outcomes[running] = ev.NodeOutcome(state="failed")
        closing.append(ev.NodeFailed(node=running, field="", message=failure.message, remedy=failure.remedy))
    states = {id: outcomes.get(id, ev.NodeOutcome(state="skipped")) for id in nodes}
    closing.append(ev.RunFinished(status="failed" if failure else "interrupted", nodes=states, artifacts=[]))
    with (folder / EVENTS).open("a", encoding="utf-8") as file:
        for event in closing:
            event.seq, seq = seq, seq + 1
            file.write(event.model_dump_json() + "\n")
    return running


def _read_attempt(folder: Path) -> tuple[dict[str, ev.NodeOutcome], str, bool]:
    """Return how nodes ended since the run was started last, which node was running, and whether the run is over."""
    outcomes, running, over = dict[str, ev.NodeOutcome](), "", True
    for line in stored_events(folder):
        with contextlib.suppress(ValueError):
            event = ev.EVENT.validate_json(line)
            if isinstance(event, ev.RunStarted):
                outcomes, running, over = {}, "", False
            elif isinstance(event, ev.RunFinished):
                over = True
            elif isinstance(event, ev.NodeStarted):
                running = event.node
            elif isinstance(event, ev.NodeFinished):
                outcomes[event.node], running = ev.NodeOutcome(state=event.state, seconds=event.seconds), ""
            elif isinstance(event, ev.NodeFailed):
                outcomes[event.node], running = ev.NodeOutcome(state="failed"), ""
    return outcomes, running, over
