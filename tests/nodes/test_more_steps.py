"""A training with more steps goes on where one with fewer has ended, and gives the bytes of one from the beginning."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graph_runtime.cache import Cache
from graph_runtime.context import RunContext
from graph_runtime.errors import Interrupted
from graph_runtime.history import History
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.optimization.loop import StepDone, minimize
from nodes.methods.more_steps import checkpoint_of
from tests.diffusion.test_minimize import CPU, OPTIMIZERS, fit, problem
from tests.nodes.node_runner import Messages

Weights = dict[str, torch.Tensor]


class Runs:
    """Trainings that share a cache, as the runtime calls them."""

    def __init__(self, folder: Path, cache_bytes: int) -> None:
        self.folder = folder
        self.cache = Cache(folder / "cache", cache_bytes)
        self.number = 0
        self.curve: list[int] = []
        """The steps that the last one told of."""

    def train(self, *, stop_after: int = 0, again: bool = False, **fields: Any) -> tuple[Weights, list[int], list[str]]:
        """Return the weights, the steps that were made, and what was said."""
        self.number += not again
        progress, told, steps = self.folder / f"progress {self.number}", Messages(), list[int]()
        progress.mkdir(exist_ok=True)
        history = History(told, progress, f"run {self.number}")
        context = RunContext(store=self.cache, stem="s", progress_folder=progress, reporter=history)
        settings, (weights, loss) = TrainingSettings(**fields), problem()

        def report(done: StepDone) -> None:
            steps.append(done.step)
            context.metric(done.step, loss=done.loss)
            if done.step == stop_after:
                raise Interrupted

        checkpoint = checkpoint_of(settings, context, "fp32")
        try:
            minimize(weights, loss, settings, device=CPU, report=report, checkpoint=checkpoint)
        except Interrupted:
            assert stop_after
        self.curve = told.steps
        return {name: weight.detach() for name, weight in weights.items()}, steps, told.texts


@pytest.fixture
def runs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runs]:
    made = Runs(tmp_path, getattr(request, "param", 2**30))
    yield made
    made.cache.close()


def equal(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_more_steps_give_the_bytes_of_all_steps(runs: Runs, optimizer: Any) -> None:
    schedule = "cosine" if optimizer == "schedulefree" else "constant"
    fields = {"optimizer": optimizer, "lr_scheduler": schedule, "lr_warmup_steps": 7, "ema_decay": 0.9, "learning_rate": 0.03}
    runs.train(max_steps=5, **fields)
    weights, steps, said = runs.train(max_steps=12, **fields)
    assert steps == list(range(6, 13))
    assert said == ["Goes on from the 5 steps that were trained before."]
    assert runs.curve == list(range(1, 13)), "the earlier steps are told too"
    assert equal(weights, fit(TrainingSettings(max_steps=12, **fields))[0])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_falling_rate_trains_anew_and_says_so_unless_asked_to_go_on(runs: Runs, schedule: Any) -> None:
    fields = {"lr_scheduler": schedule, "learning_rate": 0.03}
    runs.train(max_steps=5, **fields)
    _, steps, said = runs.train(max_steps=12, **fields)
    assert steps == list(range(1, 13))
    assert "set continue_from to 5" in said[0]
    rest, steps, _ = runs.train(max_steps=12, continue_from=5, **fields)
    assert steps == list(range(6, 13))
    whole, seen = fit(TrainingSettings(max_steps=12, continue_from=5, **fields))
    assert equal(rest, whole), "the same without the cache's help"
    new, old = fit(TrainingSettings(max_steps=12, **fields))[1], fit(TrainingSettings(max_steps=5, **fields))[1]
    assert [done.learning_rate for done in seen[5:]] == [done.learning_rate for done in new[5:]]
    assert [done.learning_rate for done in seen[:4]] == [done.learning_rate for done in old[:4]]


def test_an_interrupted_rest_goes_on_from_its_own_checkpoint(runs: Runs) -> None:
    runs.train(max_steps=2)
    runs.train(max_steps=6, stop_after=4)
    weights, steps, said = runs.train(max_steps=6, again=True)
    assert (steps, said) == ([5, 6], ["Goes on from step 4, where it was interrupted."])
    assert runs.train(max_steps=7)[1] == [7], "what was interrupted is kept at its end, too"
    assert equal(weights, fit(TrainingSettings(max_steps=6))[0])


def test_fewer_steps_begin_anew_and_leave_the_longer_training_to_go_on_from(runs: Runs) -> None:
    runs.train(max_steps=3)
    assert runs.train(max_steps=2)[1:] == ([1, 2], [])
    assert runs.train(max_steps=4)[1] == [4]


@pytest.mark.parametrize("runs", [100], indirect=True)
def test_a_state_that_would_fill_the_cache_is_not_kept_and_that_is_said(runs: Runs) -> None:
    runs.train(max_steps=2)
    _, steps, said = runs.train(max_steps=3)
    assert steps == [1, 2, 3]
    assert "too large for the cache" in said[0]


def test_the_rest_of_nothing_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        fit(TrainingSettings(max_steps=4, continue_from=4))
    assert caught.value.field == "continue_from"
