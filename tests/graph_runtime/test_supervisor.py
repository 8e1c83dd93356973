"""The supervisor: order, cancelling, crashes, restarts, and a log that is the same live and replayed."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from graph_runtime import events as ev
from graph_runtime.queue import Run, RunQueue, RunStateError
from graph_runtime.supervisor import RunChanged, RunEvent, RunRemoved, Supervisor
from graph_runtime.workflow import Workflow, read_workflow, workflow_from_json
from tests.graph_runtime.supervised_server import HANGING, SupervisedServer, install_sample_package, workflow
from tests.shell import ROOT, SMALL

pytestmark = pytest.mark.slow

SAY, KEEP = ("Say", {}), ("Keep", {})


def slow(steps: int = 1000, pause: float = 0.02) -> Workflow:
    return workflow(say=SAY, work=("Work", {"steps": steps, "pause": pause}), keep=KEEP)


def gate(folder: Path, name: str = "gate") -> Workflow:
    return workflow(name, say=SAY, gate=("Gate", {"file": str(folder / name)}))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SupervisedServer:
    install_sample_package(tmp_path, monkeypatch)
    return SupervisedServer(tmp_path)


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 4 * HANGING))


async def replay(supervisor: Supervisor, run: Run, after: int = -1) -> list[ev.AnyEvent]:
    return [ev.EVENT.validate_json(line) for line in await supervisor.events(run.id, after) if line]


def test_runs_are_done_in_the_order_of_the_queue(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            first = supervisor.submit(gate(tmp_path), [], "auto")
            await server.event(first, ev.NodeMessage)
            a, b, c, d = (supervisor.submit(workflow(name, say=SAY), [], "cpu") for name in "abcd")
            supervisor.move(d.id, 0)
            assert supervisor.cancel(b.id).state == "cancelled"
            assert [run.workflow for run in supervisor.list()] == ["gate", "d", "a", "c", "b"]
            assert [server.states(run)[-1].position for run in (d, a, c, b)] == [0, 1, 2, None]
            with pytest.raises(RunStateError):
                supervisor.remove(first.id)
            supervisor.remove(a.id)
            assert RunRemoved(run=a.id) in server.received
            assert server.states(c)[-1].position == 1
            (tmp_path / "gate").touch()
            await server.state(c, "succeeded")
            assert [run.workflow for run in supervisor.list()] == ["c", "d", "gate", "b"]
            assert [run.workflow for run in supervisor.list(before=supervisor.get(d.id).finished, limit=1)] == ["gate"]

    play(scene())


def test_a_run_tells_all_that_happens_to_it(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(workflow("named", say=SAY, print=("Print", {}), keep=KEEP), ["keep"], "auto")
            done = await server.state(run, "succeeded", "failed")
            assert [change.state for change in server.states(run)] == ["queued", "running", "running", "succeeded"]
            assert done.artifacts[0].path == str(tmp_path / "out" / "text.txt")
            assert done == supervisor.get(run.id)
            assert supervisor.document(run.id).name == "named"
            folder = supervisor.folder(run.id)
            assert folder is not None
            assert json.loads((folder / "workflow.json").read_text())["name"] == "named"
            (status,) = supervisor.status()
            assert (status.device, status.run) == ("cpu", None)
            assert psutil.pid_exists(status.pid or 0)
            again = supervisor.retry(run.id)
            assert again.id != run.id
            assert (await server.state(again, "succeeded")).targets == ["keep"]
            assert supervisor.status()[0].pid == status.pid, "the worker was not kept"

    play(scene())


def test_live_and_replayed_are_the_same(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(slow(300, 0.001), [], "auto")
            await server.event(run, ev.NodeMetric, 20)
            live: list[ev.AnyEvent] = []
            supervisor.listen(lambda change: live.append(change.event) if isinstance(change, RunEvent) else None)
            follower = await replay(supervisor, run, 4)
            await server.state(run, "succeeded")
            follower += [event for event in live if event.seq > follower[-1].seq]
            assert [event.seq for event in follower] == list(range(5, len(follower) + 5))
            assert await replay(supervisor, run) == server.events(run)
            assert await replay(supervisor, run, 4) == follower
            assert await replay(supervisor, run, 10**6) == []

    play(scene())


def test_two_devices_work_side_by_side(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open(("cpu", "mps")) as supervisor:
            a, b = supervisor.submit(gate(tmp_path, "a"), [], "auto"), supervisor.submit(gate(tmp_path, "b"), [], "auto")
            await server.event(a, ev.NodeMessage)
            await server.event(b, ev.NodeMessage)
            assert {status.run for status in supervisor.status()} == {a.id, b.id}
            (tmp_path / "a").touch()
            (tmp_path / "b").touch()
            await server.state(a, "succeeded")
            await server.state(b, "succeeded")

    play(scene())


def test_a_running_run_can_be_cancelled(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(slow(), [], "auto")
            await server.event(run, ev.NodeMetric, 3)
            pid = supervisor.status()[0].pid
            supervisor.cancel(run.id)
            supervisor.cancel(run.id)
            assert (await server.state(run, "cancelled")).not_run == dict.fromkeys(("work", "keep"), "the run was stopped")
            last = server.events(run)[-1]
            assert isinstance(last, ev.RunFinished)
            assert last.status == "interrupted"
            with pytest.raises(RunStateError):
                supervisor.cancel(run.id)
            after = supervisor.submit(workflow(say=SAY), [], "auto")
            await server.state(after, "succeeded")
            assert supervisor.status()[0].pid == pid

    play(scene())


def test_a_node_that_never_looks_is_killed(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open(grace=0.3) as supervisor:
            run = supervisor.submit(gate(tmp_path), [], "auto")
            after = supervisor.submit(workflow(say=SAY), [], "auto")
            await server.event(run, ev.NodeMessage)
            supervisor.cancel(run.id)
            assert (await server.state(run, "cancelled")).problems == []
            last = (await replay(supervisor, run))[-1]
            assert isinstance(last, ev.RunFinished)
            assert (last.status, last.nodes["gate"].state, last.nodes["say"].state) == ("interrupted", "skipped", "executed")
            assert await replay(supervisor, run) == server.events(run)
            await server.state(after, "succeeded")

    play(scene())


@pytest.mark.parametrize(
    ("how", "words"), [("segfault", "signal 11, segm"), ("kill", "memory ran out"), ("exit", "exit status 3")]
)
def test_a_worker_that_dies_is_reported_on_the_node(server: SupervisedServer, how: str, words: str) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(workflow(say=SAY, die=("Die", {"how": how}), keep=KEEP), [], "auto")
            after = supervisor.submit(workflow(say=SAY), [], "auto")
            (problem,) = (await server.state(run, "failed")).problems
            assert problem.node == "die"
            assert words in problem.message
            failed, last = (await replay(supervisor, run))[-2:]
            assert isinstance(failed, ev.NodeFailed)
            assert isinstance(last, ev.RunFinished)
            assert failed.message == problem.message
            assert "checkpoint" in failed.remedy
            assert {id: node.state for id, node in last.nodes.items()} == {"say": "executed", "die": "failed", "keep": "skipped"}
            assert await replay(supervisor, run) == server.events(run)
            assert [event.seq for event in server.events(run)] == list(range(len(server.events(run))))
            folder = supervisor.folder(run.id)
            assert folder is not None
            assert "last words" in (folder / "errors.txt").read_text()
            await server.state(after, "succeeded")

    play(scene())


@pytest.mark.parametrize("own_session", [False, True])
def test_a_child_that_outlives_its_worker_holds_nothing_up(server: SupervisedServer, tmp_path: Path, own_session: bool) -> None:
    pid = tmp_path / "pid"

    async def scene() -> None:
        async with server.open() as supervisor:
            orphan = ("Orphan", {"file": str(pid), "own_session": own_session})
            run = supervisor.submit(workflow(say=SAY, orphan=orphan), [], "auto")
            after = supervisor.submit(workflow(say=SAY), [], "auto")
            (problem,) = (await server.state(run, "failed")).problems
            assert "exit status 3" in problem.message
            await server.state(after, "succeeded")

    try:
        asyncio.run(asyncio.wait_for(scene(), 60))
        child = psutil.Process(int(pid.read_text())) if psutil.pid_exists(int(pid.read_text())) else None
        assert (child is not None and child.status() != psutil.STATUS_ZOMBIE) == own_session
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_worker_killed_from_outside_does_not_end_the_queue(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run, after = supervisor.submit(slow(), [], "auto"), supervisor.submit(workflow(say=SAY), [], "auto")
            await server.event(run, ev.NodeMetric, 3)
            pid = supervisor.status()[0].pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            await server.state(run, "failed")
            await server.state(after, "succeeded")

    play(scene())


def test_a_worker_told_to_end_is_replaced_and_its_run_goes_on(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(slow(100, 0.01), [], "auto")
            await server.event(run, ev.NodeMetric, 3)
            pid = supervisor.status()[0].pid
            assert pid
            os.kill(pid, signal.SIGTERM)
            await server.state(run, "succeeded")
            await check_whole(supervisor, run, server, steps=100, starts=2)

    play(scene())


def test_a_wrong_document_fails_with_its_problems(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(workflow(say=("Sya", {})), [], "auto")
            (problem,) = (await server.state(run, "failed")).problems
            assert (problem.node, problem.remedy) == ("say", "Did you mean Say?")
            assert await supervisor.events(run.id) == []
            assert supervisor.folder(run.id) is None

    play(scene())


def test_a_stored_document_of_a_newer_program_fails_alone(server: SupervisedServer, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    queue = RunQueue(tmp_path / "state" / "queue.sqlite")
    ids = [queue.add(workflow(say=SAY), [], "auto") for _ in range(2)]
    queue.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "queue.sqlite")) as db:
        db.execute("UPDATE runs SET document = replace(document, 'latentloom/1', 'latentloom/9') WHERE id = ?", ids[:1])
        db.commit()

    async def scene() -> None:
        async with server.open() as supervisor:
            newer, after = map(supervisor.get, ids)
            assert "latentloom/9" in (await server.state(newer, "failed")).problems[0].message
            await server.state(after, "succeeded")

    play(scene())


async def check_whole(supervisor: Supervisor, run: Run, server: SupervisedServer, *, steps: int, starts: int) -> None:
    """Every event once, in order; every step of the work once, over all attempts."""
    events = await replay(supervisor, run)
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.step for event in events if isinstance(event, ev.NodeMetric)] == list(range(1, steps + 1))
    assert sum(isinstance(event, ev.RunStarted) for event in events) == starts
    assert isinstance(events[-1], ev.RunFinished)


def test_what_a_stopped_server_left_goes_on_at_the_next_start(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(slow(100, 0.01), [], "auto")
            await server.event(run, ev.NodeMetric)
            later, never = (supervisor.submit(workflow(name, say=SAY), [], "cpu") for name in ("later", "never"))
            supervisor.move(never.id, 0)
            await server.event(run, ev.NodeMetric, 5)
        assert server.states(run)[-1].state == "queued"
        assert server.states(run)[-1].position == 0
        heard = len(server.events(run))
        server.received.clear()
        async with server.open() as supervisor:
            assert [entry.id for entry in supervisor.list()] == [run.id, never.id, later.id]
            assert len(await supervisor.events(run.id)) == heard
            supervisor.cancel(never.id)
            await server.state(later, "succeeded")
            done = supervisor.get(run.id)
            assert (done.state, done.folder) == ("succeeded", server.states(run)[0].folder)
            await check_whole(supervisor, run, server, steps=100, starts=2)
            assert server.events(run)[0].seq == heard
            assert (tmp_path / "out" / "text.txt").read_text() == "hello 100"

    play(scene())


def test_a_node_that_never_looks_does_not_hold_up_the_stop(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open(grace=0.3) as supervisor:
            run = supervisor.submit(gate(tmp_path), [], "auto")
            await server.event(run, ev.NodeMessage)
        assert server.states(run)[-1].state == "queued"
        (tmp_path / "gate").touch()
        async with server.open() as supervisor:
            await server.state(run, "succeeded")
            assert [type(event) for event in await replay(supervisor, run)].count(ev.RunFinished) == 2

    play(scene())


def test_a_second_server_is_refused(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open():
            with pytest.raises(RunStateError, match="Another server"):
                async with server.open():
                    pass

    play(scene())


def test_devices_that_are_not_there_are_refused(server: SupervisedServer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with server.open(("cpu", "mps")) as supervisor:
            with pytest.raises(RunStateError, match="cuda"):
                supervisor.submit(workflow(say=SAY), [], "cuda")
            first = supervisor.submit(gate(tmp_path), [], "mps")
            await server.event(first, ev.NodeMessage)
            run = supervisor.submit(workflow(say=SAY), [], "mps")
            (tmp_path / "gate").touch()
            await server.state(first, "running")
            supervisor._lanes[1]._stopping = True
            await server.state(first, "succeeded")
        async with server.open() as supervisor:
            failed = supervisor.get(run.id)
            assert failed.state == "failed"
            assert "mps" in failed.problems[0].message

    play(scene())


def test_an_error_of_the_server_ends_one_run_and_no_device(
    server: SupervisedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = RunQueue.document

    def fail_once(queue: RunQueue, id: str) -> Workflow:
        monkeypatch.setattr(RunQueue, "document", original)
        raise sqlite3.DatabaseError("disk image is malformed")

    async def scene() -> None:
        async with server.open() as supervisor:
            monkeypatch.setattr(RunQueue, "document", fail_once)
            run, after = (supervisor.submit(workflow(say=SAY), [], "auto") for _ in range(2))
            assert "malformed" in (await server.state(run, "failed")).problems[0].message
            await server.state(after, "succeeded")
            dismiss = supervisor._lanes[0]._dismiss

            async def fail() -> None:
                await dismiss()
                raise ZeroDivisionError

            monkeypatch.setattr(supervisor._lanes[0], "_dismiss", fail)

    play(scene())
    assert "malformed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_events_are_never_numbered_backwards_after_a_full_disk(server: SupervisedServer, how: signal.Signals) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            run = supervisor.submit(slow(60, 0.05), [], "auto")
            await server.event(run, ev.NodeMetric, 5)
            folder, pid = supervisor.folder(run.id), supervisor.status()[0].pid
            assert folder is not None
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            with (folder / "events.jsonl").open("r+b") as log:
                log.readline()
                log.truncate()
            os.kill(pid, how)
            with contextlib.suppress(ProcessLookupError):  # a killed one may be gone already
                os.kill(pid, signal.SIGCONT)
            await server.state(run, "succeeded", "failed")
            reported = server.events(run)
            assert [event.seq for event in reported] == list(range(len(reported)))
            assert isinstance(reported[-1], ev.RunFinished)
            stored = await replay(supervisor, run)
            assert 0 < len(stored) < len(reported)
            assert all(event == reported[event.seq] for event in stored)

    play(scene())


def test_a_listener_that_fails_harms_nobody(server: SupervisedServer, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            unsubscribe = supervisor.listen(lambda change: 1 / 0)  # type: ignore[arg-type, return-value]
            run = supervisor.submit(workflow(say=SAY), [], "auto")
            unsubscribe()
            await server.state(run, "succeeded")

    play(scene())
    assert "ZeroDivisionError" in caplog.text


SERVER = """
import asyncio, sys
from pathlib import Path
from graph_runtime.supervisor import Supervisor
from graph_runtime.workflow import read_workflow

async def main():
    folder = Path(sys.argv[1])
    supervisor = Supervisor(folder, folder / "state", folder / "out", folder / "cache", ["cpu"])
    await supervisor.start()
    if len(sys.argv) > 2:
        supervisor.submit(read_workflow(Path(sys.argv[2])), [], "auto")
    supervisor.listen(lambda change: print(getattr(getattr(change, "event", None), "type", ""), flush=True))
    while True:
        await asyncio.sleep(0.05)
        print("worker", supervisor.status()[0].pid, flush=True)

asyncio.run(main())
"""


def serve_and_kill(folder: Path, document: Path | None, metrics: int) -> None:
    """Start a server, kill it after so many metrics, and wait until its worker has ended by itself."""
    command = [sys.executable, "-c", SERVER, str(folder), *([str(document)] if document else [])]
    worker, seen = 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        for line in server.stdout:
            seen += line == "node_metric\n"
            worker = int(line.split()[1]) if line.startswith("worker") and "None" not in line else worker
            if seen >= metrics and worker:
                break
        server.kill()
    if psutil.pid_exists(worker):
        psutil.wait_procs([psutil.Process(worker)] if psutil.pid_exists(worker) else [], timeout=HANGING)
    assert not psutil.pid_exists(worker)


def test_a_killed_servers_run_is_finished_by_the_next(server: SupervisedServer, tmp_path: Path) -> None:
    (tmp_path / "slow.json").write_text(json.dumps(slow(150, 0.01).to_json()))
    serve_and_kill(tmp_path, tmp_path / "slow.json", 5)

    async def scene() -> None:
        async with server.open() as supervisor:
            (run,) = supervisor.list()
            assert len(await replay(supervisor, run)) >= 5
            await server.state(run, "succeeded")
            await check_whole(supervisor, run, server, steps=150, starts=2)

    play(scene())


def test_a_run_that_always_ends_the_server_is_given_up(server: SupervisedServer, tmp_path: Path) -> None:
    (tmp_path / "slow.json").write_text(json.dumps(slow(100_000, 0.01).to_json()))
    for attempt in range(3):
        serve_and_kill(tmp_path, None if attempt else tmp_path / "slow.json", 2)

    async def scene() -> None:
        async with server.open() as supervisor:
            (run,) = supervisor.list()
            assert run.state == "failed"
            assert "3 times" in run.problems[0].message

    play(scene())


@pytest.mark.slow
def test_a_real_training_interrupted_by_the_server_ends_with_the_same_bytes(tmp_path: Path) -> None:
    content = read_workflow(ROOT / "workflows" / "lora.json").to_json()
    for name, value in {**SMALL, "train.max_steps": 12, "train.checkpoint_every": 3}.items():
        node, field = name.split(".")
        content["nodes"][node].setdefault("fields", {})[field] = value
    content["nodes"]["images"]["fields"]["folder"] = "tests/data/pictures"
    document = workflow_from_json(content)

    async def train(folder: Path, *, interrupted: bool) -> str:
        server = SupervisedServer(folder, ROOT)
        folder.mkdir()
        if interrupted:
            async with server.open() as supervisor:
                run = supervisor.submit(document, ["save"], "cpu")
                await server.event(run, ev.NodeMetric, 4)
            assert server.states(run)[-1].state == "queued"
        async with server.open() as supervisor:
            run = supervisor.list()[0] if interrupted else supervisor.submit(document, ["save"], "cpu")
            if (done := await server.state(run, "succeeded", "failed")).state == "failed":
                pytest.fail(str(server.events(run)))
            if interrupted:
                await check_whole(supervisor, run, server, steps=12, starts=2)
            return done.artifacts[0].sha256

    async def scene() -> None:
        assert await train(tmp_path / "whole", interrupted=False) == await train(tmp_path / "broken", interrupted=True)

    play(scene())


def test_every_change_of_state_is_written_before_it_is_told(server: SupervisedServer) -> None:
    async def scene() -> None:
        async with server.open() as supervisor:
            wrong: list[RunChanged] = []

            def compare(change: object) -> None:
                if isinstance(change, RunChanged) and supervisor.get(change.run.id) != change.run:
                    wrong.append(change)

            supervisor.listen(compare)
            run = supervisor.submit(workflow(say=SAY), [], "auto")
            await server.state(run, "succeeded")
            assert not wrong

    play(scene())
