"""The queue: order, states, history, and a file that is damaged."""

import sqlite3
from pathlib import Path

import pytest

from graph_runtime import events as ev
from graph_runtime.errors import Problem
from graph_runtime.queue import RunQueue, RunStateError
from tests.graph_runtime.supervised_server import workflow

DOCUMENT = workflow("a name", say=("Say", {"text": "ö"}))
ARTIFACT = ev.PublishedArtifact(path="/out/a", sha256="0", bytes=1, node="say")


def ids(runs: list[object]) -> list[str]:
    return [run.id for run in runs]  # type: ignore[attr-defined]


def filled(path: Path, count: int, device: str = "cpu") -> tuple[RunQueue, list[str]]:
    queue = RunQueue(path / "queue.sqlite")
    return queue, [queue.add(DOCUMENT, ["say"], device) for _ in range(count)]


def test_a_run_keeps_what_it_was_given(tmp_path: Path) -> None:
    queue, (id,) = filled(tmp_path, 1)
    run = queue.get(id)
    assert (run.workflow, run.targets, run.device, run.state, run.position) == ("a name", ["say"], "cpu", "queued", 0)
    assert (run.started, run.finished, run.folder, run.problems, run.artifacts) == (None, None, None, [], [])
    assert queue.document(id) == DOCUMENT
    queue.close()


def test_runs_are_taken_in_order_and_by_device(tmp_path: Path) -> None:
    queue, (first, second) = filled(tmp_path, 2)
    other, any_device = queue.add(DOCUMENT, [], "cuda:0"), queue.add(DOCUMENT, [], "auto")
    taken = [queue.take("cuda:0"), queue.take("cuda:0"), queue.take("cuda:0"), queue.take("cpu"), queue.take("cpu")]
    assert [run and run.id for run in taken] == [other, any_device, None, first, second]
    assert set(ids(queue.running())) == {first, second, other, any_device}
    assert all(run.state == "running" and run.started and run.position is None for run in queue.running())
    queue.close()


def test_a_run_moves_to_a_position(tmp_path: Path) -> None:
    queue, (a, b, c) = filled(tmp_path, 3)
    queue.move(c, 0)
    assert ids(queue.waiting()) == [c, a, b]
    queue.move(c, 99)
    assert ids(queue.waiting()) == [a, b, c]
    queue.move(a, 1)
    assert [(run.id, run.position) for run in queue.waiting()] == [(b, 0), (a, 1), (c, 2)]
    last = queue.add(DOCUMENT, [], "cpu")
    assert queue.get(last).position == 3
    queue.close()


def test_only_the_first_end_counts(tmp_path: Path) -> None:
    queue, (id,) = filled(tmp_path, 1)
    assert not queue.finish(id, "succeeded")
    queue.take("cpu")
    problem = Problem("it broke", "say", "text", "mend it")
    assert queue.finish(id, "failed", [problem], [ARTIFACT])
    assert not queue.finish(id, "succeeded")
    assert not queue.requeue(id, orderly=True)
    run = queue.get(id)
    assert (run.state, run.problems, run.artifacts) == ("failed", [problem], [ARTIFACT])
    assert run.finished is not None
    queue.close()


def test_an_interrupted_run_goes_to_the_front(tmp_path: Path) -> None:
    queue, (a, b) = filled(tmp_path, 2)
    queue.take("cpu")
    queue.set_folder(a, "somewhere")
    assert queue.requeue(a, orderly=False)
    assert ids(queue.waiting()) == [a, b]
    again = queue.take("cpu")
    assert again is not None
    assert (again.id, again.folder, again.attempts) == (a, "somewhere", 2)
    queue.requeue(a, orderly=True)
    assert queue.get(a).attempts == 0
    queue.close()


def test_what_is_not_possible_says_so(tmp_path: Path) -> None:
    queue, (id,) = filled(tmp_path, 1)
    queue.take("cpu")
    for refused in (lambda: queue.move(id, 0), lambda: queue.cancel(id), lambda: queue.remove(id)):
        with pytest.raises(RunStateError) as caught:
            refused()
        assert caught.value.remedy
    for unknown in (queue.get, queue.document, queue.cancel, queue.remove):
        with pytest.raises(KeyError):
            unknown("nothing")
    assert queue.get(id).state == "running"
    queue.close()


def test_history_comes_in_pages_newest_first(tmp_path: Path) -> None:
    queue, made = filled(tmp_path, 5)
    for id in made:
        queue.cancel(id)
    page = queue.history(None, 2)
    assert ids(page) == [made[4], made[3]]
    page = queue.history(page[-1].finished, 2)
    assert ids(page) == [made[2], made[1]]
    queue.remove(made[0])
    assert ids(queue.history(page[-1].finished, 2)) == []
    queue.close()


def test_the_queue_is_there_after_a_restart(tmp_path: Path) -> None:
    queue, made = filled(tmp_path, 3)
    queue.move(made[2], 0)
    queue.close()
    queue = RunQueue(tmp_path / "queue.sqlite")
    assert ids(queue.waiting()) == [made[2], made[0], made[1]]
    assert not queue.problems
    queue.close()


@pytest.mark.parametrize("damage", ["all", "page"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    queue, _ = filled(tmp_path, 200)
    queue.close()
    path = tmp_path / "queue.sqlite"
    content = bytearray(path.read_bytes())
    content[slice(None) if damage == "all" else slice(8192, 20000)] = b"\xaa" * (len(content) if damage == "all" else 11808)
    path.write_bytes(content)
    queue = RunQueue(path)
    assert queue.waiting() == []
    assert "damaged" in queue.problems[0].message
    assert (tmp_path / "queue-damaged.sqlite").read_bytes() == bytes(content)
    assert queue.get(queue.add(DOCUMENT, [], "cpu")).position == 0
    queue.close()


def test_all_that_is_left_of_damaged_files_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"queue-damaged.sqlite": "an earlier one", "queue.sqlite": "damaged", "queue.sqlite-wal": "its log"}
    for name, content in left.items():
        (tmp_path / name).write_text(content)
    original = RunQueue._open

    def find_damage_once(queue: RunQueue) -> sqlite3.Connection:
        monkeypatch.setattr(RunQueue, "_open", original)
        raise sqlite3.DatabaseError("the file is damaged")

    monkeypatch.setattr(RunQueue, "_open", find_damage_once)
    RunQueue(tmp_path / "queue.sqlite").close()
    kept = {file.name: file.read_text() for file in tmp_path.glob("queue-damaged*")}
    assert kept == {
        "queue-damaged.sqlite": "an earlier one",
        "queue-damaged-2.sqlite": "damaged",
        "queue-damaged-2.sqlite-wal": "its log",
    }


def test_a_disk_that_fails_is_said_as_everywhere_else(tmp_path: Path) -> None:
    queue, (id,) = filled(tmp_path, 1)
    queue._db.execute("ALTER TABLE runs RENAME TO gone")
    for read in (lambda: queue.get(id), lambda: queue.document(id), queue.running, lambda: queue.take("cpu")):
        with pytest.raises(OSError, match="no such table"):
            read()
    queue.close()


def test_what_did_not_run_is_kept_also_in_a_file_of_an_earlier_version(tmp_path: Path) -> None:
    queue, _ = filled(tmp_path, 1)
    queue.close()
    with sqlite3.connect(tmp_path / "queue.sqlite") as db:
        db.execute("ALTER TABLE runs DROP COLUMN not_run")
    queue = RunQueue(tmp_path / "queue.sqlite")
    run = queue.take("cpu")
    assert run
    assert run.not_run == {}
    queue.finish(run.id, "succeeded", not_run={"train": "latents is muted"})
    assert queue.get(run.id).not_run == {"train": "latents is muted"}
    queue.close()
