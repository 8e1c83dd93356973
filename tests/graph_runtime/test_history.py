"""Curves and previews of a long node are whole in every run that has its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph_runtime import events as ev
from graph_runtime.context import PlainFolder
from graph_runtime.history import FILE, REPLAYED_METRICS, REPLAYED_PREVIEWS, History, continue_from, keep_for, replay_kept
from tests.graph_runtime.conftest import Lab, document

GRAPH = document({"c": ("Count", {"steps": 6}), "t": ("Total", {})}, [("c.output", "t.numbers")])


def losses(lab: Lab) -> list[tuple[int, float]]:
    return [(event.step, event.values["loss"]) for event in lab.events if isinstance(event, ev.NodeMetric)]


def pictures(lab: Lab, run: ev.RunFinished) -> list[str]:
    shown = [event.path for event in lab.events if isinstance(event, ev.NodePreview)]
    started = next(event.run for event in lab.events if isinstance(event, ev.RunStarted))
    return [(lab.output / "runs" / started / path).read_text() for path in shown]


WHOLE = [(step, 1 / step) for step in range(1, 7)]


def test_a_run_that_goes_on_shows_what_was_before(lab: Lab) -> None:
    lab.stop_requested = lambda: len(losses(lab)) >= 3
    assert lab.run(GRAPH).status == "interrupted"
    assert losses(lab) == WHOLE[:3]
    lab.stop_requested = lambda: len(losses(lab)) >= 5
    assert lab.run(GRAPH).status == "interrupted"
    assert losses(lab) == WHOLE[:5]
    lab.stop_requested = lambda: False
    finished = lab.run(GRAPH)
    assert losses(lab) == WHOLE
    assert [event.earlier for event in lab.events if isinstance(event, ev.NodeMetric)] == [True] * 5 + [False]
    assert pictures(lab, finished) == [f"picture {step}" for step in range(1, 7)]


def test_a_result_from_the_cache_brings_its_curve_and_pictures(lab: Lab) -> None:
    lab.run(GRAPH)
    finished = lab.run(GRAPH)
    assert finished.nodes["c"].state == "cached"
    assert losses(lab) == WHOLE
    assert pictures(lab, finished)[-1] == "picture 6"


class Listener:
    """Remembers the steps that it is told of."""

    def __init__(self) -> None:
        self.reported: list[tuple[int, str]] = []

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.reported]

    def of(self, kind: str) -> list[int]:
        return [step for step, name in self.reported if name == kind]

    def progress(self, step: int, total: int) -> None: ...
    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None:
        self.reported += [(step, name) for name in values]

    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None:
        self.reported.append((step, "picture"))

    def message(self, text: str, level: object) -> None: ...


def attempt(folder: Path, run: str, steps: range) -> list[int]:
    listener = Listener()
    history = History(listener, folder, run)
    for step in steps:
        history.metric(step, {"loss": 1.0, "psnr": float("nan")})
    return listener.of("loss")


def test_steps_that_are_done_again_take_the_place_of_what_was_told(tmp_path: Path) -> None:
    assert attempt(tmp_path, "first", range(1, 6)) == [1, 2, 3, 4, 5]
    with (tmp_path / FILE).open("a") as file:
        file.write('{"step": 6, "val')  # killed in the middle of a line
    assert attempt(tmp_path, "second", range(4, 6)) == [1, 2, 3, 4, 5]
    assert attempt(tmp_path, "second", range(6, 8)) == [6, 7]  # the same run has reported the others
    assert attempt(tmp_path, "third", range(8, 9)) == [1, 2, 3, 4, 5, 6, 7, 8]


class Store(PlainFolder):
    """Remembers items."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Any] = {}

    def keep_item(self, key: str, value: Any) -> None:
        self.items[key] = value

    def find_item(self, key: str) -> Any:
        return self.items.get(key)


def test_of_a_long_history_evenly_chosen_steps_and_the_last_are_told(tmp_path: Path) -> None:
    store, listener = Store(), Listener()
    history = History(Listener(), tmp_path, "run")
    (picture := tmp_path / "p.png").write_text("p")
    for step in range(1, REPLAYED_METRICS * 3 + 2):
        history.metric(step, {"loss": 1.0})
        if step % 5 == 0:
            history.metric(step, {"psnr": 1.0})
            history.preview(step, picture)
    keep_for("key", tmp_path, store)
    replay_kept("key", store, listener)
    assert REPLAYED_METRICS * 0.7 <= len(listener.of("loss")) <= REPLAYED_METRICS + 1
    assert (listener.of("loss")[0], listener.of("loss")[-1]) == (1, REPLAYED_METRICS * 3 + 1)
    assert listener.of("psnr") == list(range(5, REPLAYED_METRICS * 3 + 1, 5)), "few numbers are told whole beside many"
    assert len(listener.of("picture")) <= REPLAYED_PREVIEWS + 1
    assert listener.of("picture")[-1] == REPLAYED_METRICS * 3
    assert listener.steps == sorted(listener.steps)


def test_what_goes_on_from_a_kept_state_shows_the_steps_before(tmp_path: Path) -> None:
    store = Store()
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    attempt(tmp_path / "short", "first", range(1, 4))
    keep_for("three steps", tmp_path / "short", store)
    continue_from("three steps", store, tmp_path / "long")
    assert attempt(tmp_path / "long", "second", range(4, 6)) == [1, 2, 3, 4, 5]
    continue_from("three steps", store, tmp_path / "long")  # killed before its first checkpoint
    assert attempt(tmp_path / "long", "second", range(4, 6)) == [4, 5], "the same run has reported the others"
    keep_for("five steps", tmp_path / "long", store)
    replay_kept("five steps", store, listener := Listener())
    assert listener.of("loss") == [1, 2, 3, 4, 5]
