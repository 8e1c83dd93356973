"""A training that gets worse says so once, an ordinary one never."""

import random

import pytest
import torch

from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.optimization.divergence import Divergence
from nodes.diffusion.optimization.loop import StepDone, minimize

CPU = torch.device("cpu")


def told(losses: list[float], watch: Divergence | None = None) -> list[int]:
    """The steps at which something is said of these losses; the weights stay as they are."""
    watch = watch or Divergence({"w": torch.full((4,), 0.03)})
    return [step for step, loss in enumerate(losses, 1) if watch.warning_after(step, loss)]


def hard_and_easy(count: int, seed: int) -> list[float]:
    """Losses of batches of one: each is nearly all due to its timestep."""
    draw = random.Random(seed)
    return [0.8 ** (12 * draw.random()) * draw.uniform(0.5, 1.0) for _ in range(count)]


def test_a_loss_that_rises_for_many_steps_is_told_once() -> None:
    assert told([0.1] * 50 + [0.9] * 200) == [50 + 16]
    assert told([0.1] * 50 + [0.9] * 5 + [0.1] * 50) == [], "it has recovered"


@pytest.mark.parametrize("seed", range(5))
def test_the_spread_of_small_batches_is_no_divergence(seed: int) -> None:
    assert told(hard_and_easy(3000, seed)) == []
    assert told([1.0 / (1 + step / 20) for step in range(300)]) == []


def test_an_interrupted_training_remembers_how_it_began() -> None:
    losses = [0.1] * 15 + [0.9] * 40
    first = Divergence({"w": torch.full((4,), 0.03)})
    assert told(losses[:20], first) == []
    second = Divergence({"w": torch.full((4,), 0.03)})
    second.load_state_dict(first.state_dict())
    assert [20 + step for step in told(losses[20:], second)] == told(losses)


def test_a_learning_rate_that_blows_up_the_weights_is_told_though_the_loss_is_bounded() -> None:
    def warnings(learning_rate: float) -> list[str]:
        weights = {"w": torch.nn.Parameter(torch.full((8,), 0.01))}
        seen: list[StepDone] = []
        settings = TrainingSettings(max_steps=40, learning_rate=learning_rate, weight_decay=0)
        minimize(weights, lambda step, _: (weights["w"] - 0.02).tanh().square().mean(), settings, device=CPU, report=seen.append)
        return [f"{done.step}: {done.warning}" for done in seen if done.warning]

    (warning,) = warnings(10)
    assert warning.startswith("10: The trained weights have grown")
    assert "lower learning_rate" in warning
    assert warnings(1e-3) == []
