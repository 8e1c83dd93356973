"""One device of the server: its runs, executed one by one by a worker process that is replaced when it dies."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graph_runtime import events as ev
from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.eventlog import EventLog, end_log
from graph_runtime.failures import worker_ended
from graph_runtime.queue import Run, RunQueue, RunState
from graph_runtime.worker_process import WorkerProcess

LOG = logging.getLogger(__name__)
RETRY_SECONDS = 1.0
STATES: dict[str, RunState] = {"succeeded": "succeeded", "failed": "failed"}


@dataclass(frozen=True)
class LaneContext:
    """State that all lanes of a server share."""

    queue: RunQueue
    runs: Path
    """The parent of run folders."""
    logs: dict[str, EventLog]
    """The logs of unfinished runs, by run id."""
    publish_run: Callable[[str], None]
    """Publishes that a run has changed."""
    publish_event: Callable[[str, ev.AnyEvent], None]
    """Publishes an event of a run."""


@dataclass
class _Current:
    """The run that a lane executes."""

    run: Run
    nodes: list[str]
    cancelled: bool = False
    finished: ev.RunFinished | None = None
    problems: list[Problem] = field(default_factory=list[Problem])
    deadline: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class _Ending:
    """The end of an attempt; with `state` None the run resumes later."""

    state: RunState | None
    problems: Sequence[Problem] = ()
    artifacts: Sequence[ev.PublishedArtifact] = ()
    not_run: Mapping[str, str] = field(default_factory=dict[str, str])


class Lane:
    """Executes runs that fit its device until it is stopped."""

    def __init__(self, device: str, command: Sequence[str], context: LaneContext, grace_seconds: float) -> None:
        self.device = device
        self._command = [*command, "--device", device]
        self._lane_context = context
        self._grace = grace_seconds
        self._worker: WorkerProcess | None = None
        self._current: _Current | None = None
        self._work = asyncio.Event()
        self._stopping = False
        self._task = asyncio.create_task(self._serve())

    @property
    def run(self) -> str | None:
        """Return the id of the run in execution, None between runs."""
        return self._current.run.id if self._current else None

    @property
    def pid(self) -> int | None:
        """Return the worker's process id, None while there is none."""
        return self._worker.pid if self._worker and self._worker.alive else None

    def wake(self) -> None:
        """Look at the queue again."""
        self._work.set()

    def cancel(self) -> None:
        """Ask the run to stop, and kill the worker if it has not done so after the grace period."""
        current = self._current
        if current is None or current.cancelled:
            return
        current.cancelled = True
        if self._worker:
            self._worker.send(cancel=current.run.id)
        current.deadline = asyncio.get_running_loop().call_later(self._grace, self._kill)

    async def stop(self) -> None:
        """Ask the worker to stop, then kill it; its run is queued again."""
        self._stopping = True
        self.wake()
        if self._worker:
            self._worker.close_stdin()
        _, late = await asyncio.wait([self._task], timeout=self._grace)
        if late:
            self._kill()
        await self._task

    def _kill(self) -> None:
        if self._worker:
            self._worker.kill()

    async def _serve(self) -> None:
        while not self._stopping:
            self._work.clear()
            try:
                run = self._lane_context.queue.take(self.device)
                await (self._carry_out(run) if run else self._work.wait())
            except Exception as error:  # an error in one run must not stop the next
                if not isinstance(error, OSError):  # a full disk is no fault of the program
                    LOG.exception("The queue for %s met an error.", self.device)
                await asyncio.sleep(RETRY_SECONDS)
        await self._dismiss()

    async def _carry_out(self, run: Run) -> None:
        try:
            ending = await self._outcome(run)
        except Exception as error:
            LOG.exception("Run %s met an error of the server.", run.id)
            self._kill()  # it may still execute the run
            await self._dismiss()
            ending = _Ending("failed", [Problem(f"The server could not carry it out: {error}.", remedy="Retry it.")])
        if self._current and self._current.deadline:
            self._current.deadline.cancel()
        self._current = None
        await self._settle(run.id, ending)

    async def _outcome(self, run: Run) -> _Ending:
        try:
            document = self._lane_context.queue.document(run.id)
        except WorkflowError as error:  # written by another version of the program
            return _Ending("failed", error.problems)
        self._current = _Current(run, list(document.nodes))
        self._lane_context.publish_run(run.id)
        return await self._attempt(self._current, document.to_json())

    async def _attempt(self, current: _Current, document: dict[str, Any]) -> _Ending:
        if self._worker is None or not self._worker.alive:
            await self._dismiss()
            try:
                self._worker = await WorkerProcess.start(self._command)
            except OSError as error:
                return _Ending("failed", [Problem(f"The worker process cannot be started: {error.strerror or error}.")])
        worker, run = self._worker, current.run
        if current.cancelled:
            return _Ending("cancelled")
        worker.forget_errors()
        log = self._lane_context.logs.get(run.id)
        order = {"id": run.id, "document": document, "targets": run.targets, "folder": run.folder}
        worker.send(run={**order, "seq": log.next_seq if log else 0})
        if self._stopping:
            worker.close_stdin()
        async for message in worker.messages():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._receive(current, message)
            if "done" in message:
                return await self._orderly(current, str(message["done"]))
        return await self._worker_died(current, worker)

    def _receive(self, current: _Current, message: dict[str, Any]) -> None:
        id = current.run.id
        if "event" in message:
            event = ev.EVENT.validate_python(message["event"])
            if isinstance(event, ev.RunFinished):
                current.finished = event
            if isinstance(event, ev.NodeFailed):
                current.problems.append(Problem(event.message, event.node, event.field, event.remedy))
            self._lane_context.logs[id].receive(event)
        elif "folder" in message:
            self._opened(id, str(message["folder"]), int(message["seq"]))
        elif "problems" in message:
            current.problems = [Problem(**problem) for problem in message["problems"]]

    def _opened(self, id: str, name: str, seq: int) -> None:
        """Open the log in the worker's run folder; `seq` is that of the next event."""
        log, folder = self._lane_context.logs.get(id), self._lane_context.runs / name
        if log is None or log.folder != folder:
            log = self._lane_context.logs[id] = EventLog(folder, lambda event: self._lane_context.publish_event(id, event))
        log.catch_up(seq)
        log.next_seq = seq
        with contextlib.suppress(OSError):
            self._lane_context.queue.set_folder(id, name)
            self._lane_context.publish_run(id)

    async def _orderly(self, current: _Current, status: str) -> _Ending:
        artifacts = current.finished.artifacts if current.finished else []
        not_run = current.finished.not_run() if current.finished else {}
        if status != "interrupted":
            return _Ending(STATES.get(status, "failed"), current.problems, artifacts, not_run)
        if current.cancelled:
            return _Ending("cancelled", artifacts=artifacts, not_run=not_run)
        await self._dismiss()  # it was asked to end from outside
        return _Ending(None)

    async def _worker_died(self, current: _Current, worker: WorkerProcess) -> _Ending:
        """End the log of a dead worker and return how the run ended."""
        status = await worker.ended()
        log = self._lane_context.logs.get(current.run.id)
        if log:
            log.catch_up()
        if current.finished:
            return await self._orderly(current, current.finished.status)
        asked = current.cancelled or self._stopping
        failure = None if asked else worker_ended(status)
        node = end_log(log.folder, current.nodes, failure, log.next_seq) if log else ""
        if log:
            log.catch_up()
        if failure is None:
            return _Ending("cancelled" if current.cancelled else None)
        if log:
            _keep_errors(log.folder, worker.errors)
        last_words = worker.errors.strip().rpartition("\n")[2][:300] if not log else ""
        return _Ending("failed", [replace(failure, node=node, message=f"{failure.message} {last_words}".rstrip())])

    async def _settle(self, id: str, ending: _Ending) -> None:
        """Store how the run ended; on a full disk, retry until there is room."""
        while True:
            try:
                if ending.state is None:
                    self._lane_context.queue.requeue(id, orderly=True)
                else:
                    self._lane_context.queue.finish(id, ending.state, ending.problems, ending.artifacts, ending.not_run)
                    self._lane_context.logs.pop(id, None)
            except OSError:
                if self._stopping:
                    return
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        self._lane_context.publish_run(id)

    async def _dismiss(self) -> None:
        """Let the worker end, and wait for it."""
        if self._worker:
            self._worker.close_stdin()
            await self._worker.ended()
            self._worker = None


def _keep_errors(folder: Path, text: str) -> None:
    with contextlib.suppress(OSError), (folder / "errors.txt").open("a", encoding="utf-8") as file:
        file.write(f"The worker's last messages:\n{text}\n")
