"""The loop: accumulation, clipping, averaging, schedules, resuming, and refusing what went wrong."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.optimization.loop import StepDone, minimize
from nodes.diffusion.optimization.training_state import TrainingState
from nodes.diffusion.randomness import generator_for

CPU = torch.device("cpu")
OPTIMIZERS = ["adamw", "adafactor", "prodigy", "schedulefree"]


def problem(batch: int = 4, parts: int = 1) -> tuple[dict[str, nn.Parameter], Callable[[int, int], torch.Tensor]]:
    """A linear regression on data that depend on the step alone, in `parts` micro batches."""
    first = torch.randn(3, 2, generator=torch.Generator().manual_seed(3))
    weights = {"w": nn.Parameter(first.clone()), "b": nn.Parameter(torch.zeros(2))}

    def loss(step: int, micro_step: int) -> torch.Tensor:
        x = torch.randn(batch, 3, generator=generator_for(0, "x", step)).chunk(parts)[micro_step]
        target = x.sum(dim=1, keepdim=True).repeat(1, 2) + 1
        return ((x @ weights["w"] + weights["b"] - target) ** 2).mean()

    return weights, loss


def fit(settings: TrainingSettings, *, parts: int = 1, folder: Path | None = None, stop_after: int | None = None, **more: Any):
    weights, loss = problem(parts=parts)
    seen: list[StepDone] = []

    def report(done: StepDone) -> None:
        seen.append(done)
        if done.step == stop_after:
            raise KeyboardInterrupt

    checkpoint = TrainingState(folder) if folder else None
    if stop_after:
        with pytest.raises(KeyboardInterrupt):
            minimize(weights, loss, settings, device=CPU, report=report, checkpoint=checkpoint, **more)
    else:
        minimize(weights, loss, settings, device=CPU, report=report, checkpoint=checkpoint, **more)
    return {name: weight.detach().clone() for name, weight in weights.items()}, seen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loss_falls(optimizer: str) -> None:
    rate = 1.0 if optimizer == "prodigy" else 0.05
    _, seen = fit(TrainingSettings(max_steps=150, optimizer=optimizer, learning_rate=rate, weight_decay=0))
    assert seen[-1].loss < 0.3 * seen[0].loss


def test_adafactor_moves_a_matrix_that_begins_at_zero_as_far_as_adamw() -> None:
    """A LoRA's B begins there, and torch's Adafactor would scale every step by it."""
    moved: dict[str, float] = {}
    for optimizer in ("adamw", "adafactor"):
        weights, _ = fit(TrainingSettings(max_steps=100, optimizer=optimizer, learning_rate=1e-3, weight_decay=0))
        moved[optimizer] = float(weights["b"].norm())
    assert 0.5 < moved["adafactor"] / moved["adamw"] < 2


def test_accumulation_equals_the_larger_batch() -> None:
    whole, whole_seen = fit(TrainingSettings(max_steps=8, learning_rate=0.01))
    parts, parts_seen = fit(TrainingSettings(max_steps=8, learning_rate=0.01, gradient_accumulation_steps=4), parts=4)
    assert torch.allclose(whole["w"], parts["w"], atol=1e-6)
    assert [d.loss for d in parts_seen] == pytest.approx([d.loss for d in whole_seen], rel=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_training_stopped_and_resumed_twice_ends_with_the_same_bytes(tmp_path: Path, optimizer: str, schedule: str) -> None:
    settings = TrainingSettings(
        max_steps=12, learning_rate=0.03, optimizer=optimizer, lr_scheduler=schedule, lr_warmup_steps=3, ema_decay=0.9
    )
    whole, whole_seen = fit(settings)
    _, first = fit(settings, folder=tmp_path, stop_after=4)
    _, second = fit(settings, folder=tmp_path, stop_after=9)
    resumed, third = fit(settings, folder=tmp_path)
    assert [d.step for d in first + second + third] == list(range(1, 13))
    assert [d.loss for d in first + second + third] == [d.loss for d in whole_seen]
    assert [d.learning_rate for d in first + second + third] == [d.learning_rate for d in whole_seen]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("damage", ["cut", "one bit", "noise"])
def test_a_damaged_checkpoint_begins_anew(tmp_path: Path, damage: str) -> None:
    settings = TrainingSettings(max_steps=4, learning_rate=0.03)
    whole, _ = fit(settings)
    fit(settings, folder=tmp_path, stop_after=2)
    (path,) = tmp_path.glob("checkpoint-*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": bytes(content[:200]), "one bit": bytes(content), "noise": bytes(range(256)) * 9}[damage])
    resumed, seen = fit(settings, folder=tmp_path)
    assert len(seen) == 4
    assert torch.equal(whole["w"], resumed["w"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_looking_at_averaged_weights_changes_nothing(optimizer: str) -> None:
    settings = TrainingSettings(max_steps=6, learning_rate=0.05, ema_decay=0.9, optimizer=optimizer)
    plain, _ = fit(settings)
    weights, loss = problem()
    seen: list[torch.Tensor] = []

    def report(done: StepDone) -> None:
        raw = weights["w"].detach().clone()
        with done.trainer.weights_for_use():
            seen.append(weights["w"].detach().clone())
        assert torch.equal(weights["w"], raw)

    minimize(weights, loss, settings, device=CPU, report=report)
    assert torch.equal(weights["w"], plain["w"])
    assert torch.equal(seen[-1], plain["w"]), "what is saved is the average"


def test_the_average_follows_its_definition() -> None:
    weights, loss = problem()
    raws = [weights["w"].detach().clone()]
    minimize(
        weights,
        loss,
        TrainingSettings(max_steps=5, learning_rate=0.05, ema_decay=0.5),
        device=CPU,
        report=lambda done: raws.append(weights["w"].detach().clone()),
    )
    shadow = raws[0]
    for number, raw in enumerate(raws[1:]):
        decay = min(0.5, (1 + number) / (10 + number))
        shadow = decay * shadow + (1 - decay) * raw
    assert torch.allclose(weights["w"], shadow, atol=1e-6)


def test_clipping_bounds_the_gradient() -> None:
    weights, loss = problem()
    settings = TrainingSettings(max_steps=1, learning_rate=1.0, max_grad_norm=0.1, weight_decay=0, optimizer="adafactor")
    norms: list[float] = []
    original = torch.nn.utils.clip_grad_norm_

    def spy(parameters: Any, limit: float) -> torch.Tensor:
        kept = list(parameters)
        found = original(kept, limit)
        norms.append(float(torch.cat([p.grad.flatten() for p in kept]).norm()))
        return found

    torch.nn.utils.clip_grad_norm_ = spy
    try:
        minimize(weights, loss, settings, device=CPU)
    finally:
        torch.nn.utils.clip_grad_norm_ = original
    assert norms == [pytest.approx(0.1, rel=1e-3)]


def test_a_loss_that_is_not_finite_stops_and_names_the_step() -> None:
    weights, loss = problem()
    with pytest.raises(InputError, match="nan at step 3") as caught:
        minimize(weights, lambda s, m: loss(s, m) * (float("nan") if s == 2 else 1), TrainingSettings(max_steps=5), device=CPU)
    assert caught.value.remedy


def test_a_training_without_gradients_is_an_error() -> None:
    weights, loss = problem()
    weights["unused"] = nn.Parameter(torch.ones(1))
    with pytest.raises(InputError, match="unused, received no gradient"):
        minimize(weights, loss, TrainingSettings(max_steps=1), device=CPU)
    weights, loss = problem()
    with pytest.raises(InputError, match="received no gradient"):
        minimize(weights, lambda s, m: loss(s, m) * 0, TrainingSettings(max_steps=1), device=CPU)


def test_a_missing_optimizer_package_names_field_and_remedy() -> None:
    weights, loss = problem()
    with pytest.raises(InputError, match="bitsandbytes") as caught:
        minimize(weights, loss, TrainingSettings(optimizer="adamw8bit"), device=CPU)
    assert caught.value.field == "optimizer"
    assert "latentloom[optimizers]" in caught.value.remedy


def test_bf16_trains_fp32_weights() -> None:
    weights, seen = fit(TrainingSettings(max_steps=100, learning_rate=0.05), precision="bf16")
    assert weights["w"].dtype == torch.float32
    assert seen[-1].loss < 0.3 * seen[0].loss


def test_micro_steps_side_by_side_end_with_the_same_bytes(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    settings = TrainingSettings(max_steps=8, learning_rate=0.01, gradient_accumulation_steps=4, ema_decay=0.9)
    alone, alone_seen = fit(settings, parts=4)
    monkeypatch.setenv("LATENTLOOM_PROCESSES", "4")
    beside, beside_seen = fit(settings, parts=4)
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert [d.loss for d in beside_seen] == [d.loss for d in alone_seen]
    assert not multiprocessing.active_children()


def test_micro_steps_side_by_side_are_computed_elsewhere(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("LATENTLOOM_PROCESSES", "2")
    weights, loss = problem(parts=2)
    here: list[int] = []

    def noted(step: int, micro_step: int) -> torch.Tensor:
        here.append(micro_step)
        return loss(step, micro_step)

    minimize(weights, noted, TrainingSettings(max_steps=3, gradient_accumulation_steps=2), device=CPU)
    assert here == [0, 0, 0]


def test_an_error_in_a_process_beside_is_told(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("LATENTLOOM_PROCESSES", "2")
    weights, loss = problem(parts=2)

    def failing(step: int, micro_step: int) -> torch.Tensor:
        if micro_step:
            raise InputError("no picture.", field="images", remedy="Wire one.")
        return loss(step, micro_step)

    with pytest.raises(InputError, match="no picture") as told:
        minimize(weights, failing, TrainingSettings(max_steps=3, gradient_accumulation_steps=2), device=CPU)
    assert told.value.field == "images"
    assert not multiprocessing.active_children()


def test_a_process_beside_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("LATENTLOOM_PROCESSES", "2")
    weights, loss = problem(parts=2)

    def killed(step: int, micro_step: int) -> torch.Tensor:
        if micro_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(step, micro_step)

    with pytest.raises(InputError, match="ended"):
        minimize(weights, killed, TrainingSettings(max_steps=3, gradient_accumulation_steps=2), device=CPU)


def test_a_parameter_that_some_micro_steps_do_not_reach_trains_the_same(
    monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    def trained() -> dict[str, torch.Tensor]:
        weights = {name: torch.nn.Parameter(torch.ones(3)) for name in "abc"}

        def loss(step: int, micro_step: int) -> torch.Tensor:
            total = (weights["a"] * (1 + step)).square().sum()
            if micro_step == step % 2:
                total = total + weights["b"].square().sum()
            return total + weights["c"].sum() if micro_step else total

        minimize(weights, loss, TrainingSettings(max_steps=5, learning_rate=0.1, gradient_accumulation_steps=2), device=CPU)
        return {name: parameter.detach().clone() for name, parameter in weights.items()}

    alone = trained()
    monkeypatch.setenv("LATENTLOOM_PROCESSES", "2")
    beside = trained()
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_a_process_beside_that_is_killed_between_steps_is_told(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("LATENTLOOM_PROCESSES", "2")
    weights, loss = problem(parts=2)

    def kill(_: object) -> None:
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    with pytest.raises(InputError, match="ended"):
        minimize(weights, loss, TrainingSettings(max_steps=3, gradient_accumulation_steps=2), device=CPU, report=kill)


@pytest.mark.parametrize("text", ["0", "two", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, one_thread: None, text: str) -> None:
    monkeypatch.setenv("LATENTLOOM_PROCESSES", text)
    with pytest.raises(InputError, match="LATENTLOOM_PROCESSES"):
        fit(TrainingSettings(max_steps=1))


@pytest.fixture
def one_thread() -> Generator[None]:
    """Torch as OMP_NUM_THREADS=1 leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
