"""The worker process alone: its protocol, its manners when the parent is gone, and what it leaves in the run folder."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.locks import FileLock
from graph_runtime.workflow import Workflow
from tests.graph_runtime.supervised_server import HANGING, install_sample_package, workflow

pytestmark = pytest.mark.slow

SLOW = {"steps": 1000, "pause": 0.02}


class Worker:
    """A worker that a test talks to."""

    def __init__(self, folder: Path) -> None:
        folders = [f"--{name}={folder / name}" for name in ("workspace", "output", "cache")]
        command = [sys.executable, "-P", "-m", "graph_runtime.worker", *folders, "--device=cpu"]
        self._errors = folder / "stderr.txt"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.messages: list[dict[str, Any]] = []

    def send(self, **order: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def run(self, document: Workflow, id: str = "r", folder: str | None = None) -> None:
        self.send(run={"id": id, "document": document.to_json(), "targets": [], "folder": folder, "seq": 0})

    def until(self, *kinds: str) -> dict[str, Any]:
        """Read up to a message, or an event, of one of these kinds."""
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            self.messages.append(message)
            if message.get("event", {}).get("type") in kinds or set(kinds) & set(message):
                return message
        raise AssertionError(self.errors())

    def errors(self) -> str:
        return self._errors.read_text()

    def close_stdin(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None

    def events(self) -> list[dict[str, Any]]:
        return [message["event"] for message in self.messages if "event" in message]

    def folder(self) -> str:
        return next(message["folder"] for message in self.messages if "folder" in message)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    install_sample_package(tmp_path, monkeypatch)
    (tmp_path / "workspace").mkdir()
    made = Worker(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate(timeout=HANGING)


def log_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "output" / "runs" / name / "events.jsonl").read_text().splitlines()]


def test_a_run_is_told_and_logged_alike(worker: Worker, tmp_path: Path) -> None:
    worker.run(workflow(say=("Say", {}), keep=("Keep", {})))
    assert worker.until("done") == {"done": "succeeded"}
    assert worker.events() == log_of(tmp_path, worker.folder())
    assert [event["seq"] for event in worker.events()] == list(range(len(worker.events())))
    assert (tmp_path / "output" / "text.txt").read_text() == "hello"


def test_nothing_heavy_is_loaded_for_light_nodes(worker: Worker, tmp_path: Path) -> None:
    worker.run(workflow(say=("Say", {}), what=("WhatIsLoaded", {}), keep=("Keep", {})))
    assert worker.until("done") == {"done": "succeeded"}
    assert (tmp_path / "output" / "text.txt").read_text() == ""


def test_prints_do_not_reach_the_protocol(worker: Worker, tmp_path: Path) -> None:
    worker.run(workflow(say=("Say", {}), print=("Print", {}), keep=("Keep", {})))
    assert worker.until("done") == {"done": "succeeded"}
    worker.close_stdin()
    assert worker.process.wait(HANGING) == 0
    assert '{"event": 1}' in worker.errors()


def test_the_process_serves_one_run_after_another(worker: Worker) -> None:
    for id in ("a", "b"):
        worker.run(workflow(say=("Say", {"text": id})), id)
        assert worker.until("done") == {"done": "succeeded"}
    assert worker.process.poll() is None


def test_a_wrong_document_is_a_problem(worker: Worker) -> None:
    worker.run(workflow(say=("Sya", {}), keep=("Keep", {"filename": 3})))
    assert worker.until("done") == {"done": "failed"}
    problems = worker.messages[0]["problems"]
    assert {(problem["node"], problem["field"]) for problem in problems} == {("say", ""), ("keep", "filename")}
    worker.run(workflow(say=("Say", {})))
    assert worker.until("done") == {"done": "succeeded"}


def test_cancel_reaches_the_step(worker: Worker) -> None:
    worker.run(workflow(say=("Say", {}), work=("Work", SLOW)))
    worker.until("node_metric")
    worker.send(cancel="another")
    worker.until("node_metric")
    worker.send(cancel="r")
    assert worker.until("done") == {"done": "interrupted"}
    worker.run(workflow(say=("Say", {})), "next")
    assert worker.until("done") == {"done": "succeeded"}


@pytest.mark.parametrize("how", ["hang up", "SIGTERM", "SIGINT then hang up"])
def test_a_worker_that_is_to_end_stops_politely(worker: Worker, tmp_path: Path, how: str) -> None:
    worker.run(workflow(say=("Say", {}), work=("Work", SLOW)))
    worker.until("node_metric")
    if "SIGINT" in how:
        worker.process.send_signal(signal.SIGINT)
        worker.until("node_metric")
        worker.until("node_metric")
    if "hang up" in how:
        worker.close_stdin()
    else:
        worker.process.terminate()
    assert worker.until("run_finished")["event"]["status"] == "interrupted"
    assert worker.process.wait(HANGING) == 0
    assert list((tmp_path / "cache" / "progress").glob("*/step"))


def test_a_parent_that_died_is_no_error_of_a_node(worker: Worker, tmp_path: Path) -> None:
    worker.run(workflow(say=("Say", {}), work=("Work", SLOW)))
    worker.until("node_metric")
    assert worker.process.stdout
    worker.process.stdout.close()
    worker.process.stdout = None
    assert worker.process.wait(HANGING) == 0
    last = log_of(tmp_path, worker.folder())[-1]
    assert (last["type"], last["status"]) == ("run_finished", "interrupted")


def test_a_run_goes_on_in_its_folder(worker: Worker, tmp_path: Path) -> None:
    document = workflow(say=("Say", {}), work=("Work", {"steps": 5}))
    worker.run(document)
    worker.until("done")
    before, name = worker.events(), worker.folder()
    log = tmp_path / "output" / "runs" / name / "events.jsonl"
    with log.open("a") as file:
        file.write('{"seq": 99, "type": "node_me')
    worker.run(document, "again", folder=name)
    worker.until("done")
    assert worker.messages[-2]["event"]["type"] == "run_finished"
    events = worker.events()
    assert log_of(tmp_path, name) == events
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[len(before)]["type"] == "run_started"
    assert len((log.parent / "loss.csv").read_text().splitlines()) == 6


def test_a_folder_that_another_process_writes_is_waited_for(worker: Worker, tmp_path: Path) -> None:
    document = workflow(say=("Say", {}))
    worker.run(document)
    worker.until("done")
    lock = FileLock(tmp_path / "output" / "runs" / worker.folder() / "events.lock")
    assert lock.acquire()
    worker.run(document, "waiting", folder=worker.folder())
    worker.send(cancel="waiting")
    assert worker.until("done") == {"done": "interrupted"}
    worker.run(document, "patient", folder=worker.folder())
    lock.release()
    assert worker.until("done") == {"done": "succeeded"}


def test_a_folder_that_is_gone_is_begun_anew(worker: Worker, tmp_path: Path) -> None:
    worker.run(workflow(say=("Say", {})), folder="no-such-folder")
    assert worker.until("done") == {"done": "succeeded"}
    assert worker.messages[0]["seq"] == 0
    assert (tmp_path / "output" / "runs" / worker.folder()).is_dir()
