"""Demand-driven execution: what runs, what is cached, what a failure and an interruption leave."""

import csv
import errno
import gc
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from graph_runtime import events as ev, runs
from graph_runtime.cache import MISS, Cache
from graph_runtime.events import EVENT
from graph_runtime.workspace import Workspace
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document

SUM = document(
    {"a": ("Number", {"value": 2}), "b": ("Number", {"value": 3}), "sum": ("Add", {}), "other": ("Number", {"value": 9})},
    [("a.output", "sum.left"), ("b.output", "sum.right")],
)
SAVED = document({"text": ("Text", {"text": "hi"}), "save": ("WriteText", {})}, [("text.output", "save.text")])


def states(finished: ev.RunFinished) -> dict[str, str]:
    return {id: outcome.state for id, outcome in finished.nodes.items()}


def test_only_what_a_target_needs_runs(lab: Lab) -> None:
    finished = lab.run(SUM, ["sum"])
    assert states(finished) == {"a": "executed", "b": "executed", "sum": "executed", "other": "skipped"}
    assert toys.CALLS == ["Number 2", "Number 3", "Add"]


def test_a_second_run_executes_nothing(lab: Lab) -> None:
    lab.run(SUM, ["sum"])
    finished = lab.run(SUM, ["sum"])
    assert toys.CALLS == []
    assert states(finished) == {"a": "cached", "b": "cached", "sum": "cached", "other": "skipped"}


def test_a_new_process_finds_the_same_results(lab: Lab, tmp_path: Path) -> None:
    lab.run(SUM, ["sum"])
    lab.cache.close()
    other = Lab(Workspace(tmp_path / "workspace"), Cache(tmp_path / "cache"), tmp_path / "output")
    other.run(SUM, ["sum"])
    assert toys.CALLS == []
    lab.cache = other.cache


def test_one_changed_field_reruns_only_what_is_below_it(lab: Lab) -> None:
    lab.run(SUM, ["sum"])
    changed = document(
        {"a": ("Number", {"value": 2}), "b": ("Number", {"value": 30}), "sum": ("Add", {})},
        [("a.output", "sum.left"), ("b.output", "sum.right")],
    )
    lab.run(changed)
    assert toys.CALLS == ["Number 30", "Add"]


def test_values_travel_by_output_name_and_a_field_can_be_wired(lab: Lab) -> None:
    graph = document(
        {"n": ("Number", {"value": 17}), "five": ("Number", {"value": 5}), "d": ("Divide", {}), "t": ("Total", {})},
        [("n.output", "d.number"), ("five.output", "d.by"), ("d.quotient", "t.numbers"), ("d.remainder", "t.numbers")],
    )
    prepared = lab.prepare(graph)
    lab.run(graph)
    assert lab.cache.get(prepared.graph.steps["t"].key, int) == 5
    assert lab.cache.get(prepared.graph.steps["d"].key, toys.Halves) == toys.Halves(3, 2)


def test_a_failure_stops_only_what_depends_on_it(lab: Lab) -> None:
    graph = document(
        {"n": ("Number", {"value": 1}), "bad": ("Fail", {}), "after": ("Total", {}), "free": ("Total", {})},
        [("n.output", "bad.number"), ("bad.output", "after.numbers"), ("n.output", "free.numbers")],
    )
    finished = lab.run(graph)
    assert finished.status == "failed"
    assert states(finished) == {"n": "executed", "bad": "failed", "after": "skipped", "free": "executed"}
    failure = next(event for event in lab.events if isinstance(event, ev.NodeFailed))
    assert (failure.node, failure.field, failure.remedy) == ("bad", "number", "Choose another.")
    assert "Traceback" in next(lab.output.glob("runs/*/errors.txt")).read_text()


def test_events_are_numbered_and_logged_and_read_back(lab: Lab) -> None:
    lab.run(document({"c": ("Count", {"steps": 3})}))
    assert [event.seq for event in lab.events] == list(range(len(lab.events)))
    kinds = [event.type for event in lab.events]  # type: ignore[attr-defined]
    assert (kinds[0], kinds[1], kinds[-2], kinds[-1]) == ("run_started", "node_started", "node_finished", "run_finished")
    logged = next(lab.output.glob("runs/*/events.jsonl")).read_text().splitlines()
    assert [EVENT.validate_json(line) for line in logged] == lab.events
    rows = list(csv.DictReader(next(lab.output.glob("runs/*/loss.csv")).read_text().splitlines()))
    assert [(row["node"], row["step"]) for row in rows] == [("c", "1"), ("c", "2"), ("c", "3")]
    assert float(rows[1]["loss"]) == 0.5


def test_an_interrupted_node_goes_on_where_it_stopped(lab: Lab) -> None:
    graph = document({"c": ("Count", {"steps": 6}), "t": ("Total", {})}, [("c.output", "t.numbers")])
    lab.stop_requested = lambda: len([e for e in lab.events if isinstance(e, ev.NodeMetric)]) >= 2
    finished = lab.run(graph)
    assert finished.status == "interrupted"
    assert states(finished) == {"c": "skipped", "t": "skipped"}
    lab.stop_requested = lambda: False
    assert lab.run(graph).status == "succeeded"
    assert toys.CALLS == ["Count from 2", "Total"]
    assert not [path for path in (lab.cache.folder / "progress").iterdir() if path.is_dir()]


def test_artifacts_are_published_from_the_cache_too(lab: Lab) -> None:
    first = lab.run(SAVED)
    path = Path(first.artifacts[0].path)
    assert path == lab.output / "text.txt"
    path.unlink()
    second = lab.run(SAVED)
    assert toys.CALLS == []
    assert path.read_text() == "hi"
    assert second.artifacts == first.artifacts
    assert len(list(lab.output.glob("runs/*/artifacts/text.txt"))) == 2


def test_a_different_file_is_never_overwritten(lab: Lab) -> None:
    lab.output.mkdir()
    (lab.output / "text.txt").write_text("mine")
    finished = lab.run(SAVED)
    assert (lab.output / "text.txt").read_text() == "mine"
    assert Path(finished.artifacts[0].path).name == "text-2.txt"
    assert lab.run(SAVED).artifacts == finished.artifacts


def test_values_are_freed_at_their_last_use(lab: Lab, monkeypatch) -> None:
    class Big:
        """Has no JSON form, so the cache cannot hold it."""

    alive: list[weakref.ref[Big]] = []
    most = 0

    def run(self: toys.Number) -> object:
        big = Big()
        alive.append(weakref.ref(big))
        return big

    def pass_on(self: toys.Add, left: object, right: object) -> object:
        nonlocal most
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        return run(self)  # type: ignore[arg-type]

    monkeypatch.setattr(toys.Number, "run", run)
    monkeypatch.setattr(toys.Add, "run", pass_on)
    nodes = {"n0": ("Number", {})} | {f"n{i}": ("Add", {"offset": i}) for i in range(1, 10)}
    wires = [(f"n{i}.output", f"n{i + 1}.{side}") for i in range(9) for side in ("left", "right")]
    assert lab.run(document(nodes, wires)).status == "succeeded"
    assert most == 1


def test_muted_nodes_and_what_needs_them_do_not_run(lab: Lab) -> None:
    graph = document(
        {"a": ("Number", {}), "b": ("Number", {}), "sum": ("Add", {}), "t": ("Total", {})},
        [("a.output", "sum.left"), ("b.output", "sum.right"), ("b.output", "t.numbers"), ("sum.output", "t.extra")],
    )
    graph["nodes"]["a"]["mode"] = "muted"
    finished = lab.run(graph)
    assert states(finished) == {"a": "skipped", "b": "executed", "sum": "skipped", "t": "executed"}


def test_a_bypassed_node_hands_its_input_on(lab: Lab) -> None:
    graph = document(
        {"a": ("Number", {"value": 7}), "b": ("Number", {"value": 1}), "sum": ("Add", {}), "t": ("Total", {})},
        [("a.output", "sum.left"), ("b.output", "sum.right"), ("sum.output", "t.numbers")],
    )
    graph["nodes"]["sum"]["mode"] = "bypassed"
    key = lab.prepare(graph).graph.steps["t"].key
    lab.run(graph)
    assert lab.cache.get(key, int) == 7


def test_what_a_long_run_uses_is_safe_from_another_process_that_clears(lab: Lab, monkeypatch) -> None:
    lab.run(SAVED)
    lab.cache.close()
    time.sleep(0.02)
    lab.cache = Cache(lab.cache.folder)
    seen: list[bool] = []

    def run(self: toys.Total, numbers: list[int], extra: int | None = None) -> int:
        other = Cache(lab.cache.folder)
        other.clear()
        seen.append(all(path.exists() for path in files))
        other.close()
        return 0

    files = list(lab.cache.folder.glob("files/*/*"))
    assert files
    monkeypatch.setattr(toys.Total, "run", run)
    graph = document({"n": ("Number", {}), "t": ("Total", {})}, [("n.output", "t.numbers")])
    graph["nodes"] |= SAVED["nodes"]
    graph["wires"] += SAVED["wires"]
    save_key = lab.prepare(SAVED).graph.steps["save"].key
    assert lab.cache.get(save_key) is not MISS
    lab.run(graph, ["t"])
    assert seen == [True]


def test_two_runs_that_publish_at_the_same_moment_keep_both_files(lab: Lab, monkeypatch) -> None:
    original = runs.shutil.copyfile

    def copy_while_another_finishes(source: Path, target: Path) -> None:
        original(source, target)
        if not (lab.output / "text.txt").exists():
            (lab.output / "text.txt").write_text("the other run was faster")

    monkeypatch.setattr(runs.shutil, "copyfile", copy_while_another_finishes)
    finished = lab.run(SAVED)
    assert (lab.output / "text.txt").read_text() == "the other run was faster"
    assert Path(finished.artifacts[0].path).read_text() == "hi"


def test_a_cached_artifact_that_cannot_be_published_fails_its_node_and_the_run_still_ends(lab: Lab, monkeypatch) -> None:
    lab.run(SAVED)

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(runs, "_copy", full)
    (lab.output / "text.txt").unlink()
    finished = lab.run(SAVED)
    assert states(finished) == {"text": "cached", "save": "failed"}
    failure = next(event for event in lab.events if isinstance(event, ev.NodeFailed))
    assert "the disk is full at" in failure.message
    assert lab.events[-1] == finished


def test_a_log_that_cannot_be_written_does_not_stop_the_run(lab: Lab, monkeypatch) -> None:
    def full(self: runs.RunFolder, event: ev.Event) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs.RunFolder, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        lab.run(SAVED)
    assert isinstance(lab.events[-1], ev.RunFinished)
    assert lab.events[-1].status == "succeeded"
    assert (lab.output / "text.txt").read_text() == "hi"


def test_saved_files_carry_only_the_inputs_of_their_own_branch(lab: Lab, monkeypatch) -> None:
    seen: list[dict[str, str]] = []
    original = toys.WriteText.run

    def run(self: toys.WriteText, text: str, context: Any) -> Any:
        seen.append(dict(context.provenance.inputs))
        return original(self, text, context)

    monkeypatch.setattr(toys.WriteText, "run", run)
    for name in ("a", "b"):
        (lab.workspace.root / f"{name}.txt").write_text(name)
    nodes = {"a": ("ReadFile", {"path": "a.txt"}), "b": ("ReadFile", {"path": "b.txt"}), "save": ("WriteText", {})}
    lab.run(document(nodes, [("a.output", "save.text")]))
    assert [set(inputs) for inputs in seen] == [{"a"}]
