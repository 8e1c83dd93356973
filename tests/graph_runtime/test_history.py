"""Curves and previews of a long node are whole in every run that has its result."""

from pathlib import Path

from graph_runtime import events as ev
from graph_runtime.context import PlainFolder
from graph_runtime.history import FILE, MOST, History, keep_for, tell_of
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
    """Remembers the metrics that it is told."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def progress(self, step: int, total: int) -> None: ...
    def metric(self, step: int, values: object, *, earlier: bool = False) -> None:
        self.heard.append(step)

    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None: ...
    def message(self, text: str, level: object) -> None: ...


def attempt(folder: Path, run: str, steps: range) -> list[int]:
    listener = Listener()
    history = History(listener, folder, run)
    for step in steps:
        history.metric(step, {"loss": 1.0, "psnr": float("nan")})
    return listener.heard


def test_steps_that_are_done_again_take_the_place_of_what_was_told(tmp_path: Path) -> None:
    assert attempt(tmp_path, "first", range(1, 6)) == [1, 2, 3, 4, 5]
    with (tmp_path / FILE).open("a") as file:
        file.write('{"step": 6, "val')  # killed in the middle of a line
    assert attempt(tmp_path, "second", range(4, 6)) == [1, 2, 3, 4, 5]
    assert attempt(tmp_path, "second", range(6, 8)) == [6, 7]  # the same run has heard the others
    assert attempt(tmp_path, "third", range(8, 9)) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_of_a_very_long_history_evenly_chosen_steps_and_the_last_are_told(tmp_path: Path) -> None:
    class Store(PlainFolder):
        items: dict[str, object] = {}  # noqa: RUF012

        def keep_item(self, key: str, value: object) -> None:
            self.items[key] = value

        def find_item(self, key: str) -> object:
            return self.items.get(key)

    store, listener = Store(), Listener()
    attempt(tmp_path, "run", range(1, 3 * MOST + 2))
    keep_for("key", tmp_path, store)
    tell_of("key", store, listener)
    assert MOST * 0.7 <= len(listener.heard) <= MOST + 1
    assert (listener.heard[0], listener.heard[-1]) == (1, 3 * MOST + 1)
    assert listener.heard == sorted(listener.heard)
