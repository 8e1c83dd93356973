"""Rectified flow: levels, shift, weights and steps, against diffusers' schedulers and the papers' formulas."""

import math
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.flow import Flow, Shift, shift_in
from nodes.diffusion.families.flow_scheduler import FlowScheduler
from nodes.diffusion.families.schedulers import Sampler
from nodes.diffusion.handles.models import PredictionType
from nodes.diffusion.handles.noise_checks import check_noise_settings
from nodes.diffusion.handles.settings import DenoisingSettings


def flow(**fields: Any) -> Flow:
    return Flow(Shift(3.0).of, 2, DenoisingSettings(**fields))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("config", [{"shift": 3.0}, {"use_dynamic_shifting": True, "max_image_seq_len": 6400}])
@pytest.mark.parametrize("tokens", [256, 1024, 4096])
def test_levels_of_sampling_are_those_of_diffusers(config: dict[str, Any], tokens: int) -> None:
    theirs: Any = FlowMatchEulerDiscreteScheduler(**config)
    slope = (1.15 - 0.5) / (config.get("max_image_seq_len", 4096) - 256)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / 7, 7).tolist(), mu=0.5 + slope * (tokens - 256))
    ours = FlowScheduler(lambda steps: shift_in(theirs.config).of(tokens), "euler")
    ours.set_timesteps(7, device="cpu")
    torch.testing.assert_close(ours.timesteps, theirs.sigmas[:-1], rtol=1e-5, atol=1e-6)


def test_noise_and_target_are_the_straight_path() -> None:
    latents, noise = torch.randn(3, 16, 4, 4, generator=generator()), torch.ones(3, 16, 4, 4)
    level = torch.tensor([0.0, 0.25, 1.0])
    noisy = flow().noisy(latents, noise, level)
    assert torch.equal(noisy[0], latents[0])
    assert torch.equal(noisy[2], noise[2])
    torch.testing.assert_close(noisy[1], 0.75 * latents[1] + 0.25)
    step = noisy - level.reshape(-1, 1, 1, 1) * flow().target(latents, noise, level)
    torch.testing.assert_close(step, latents)


def test_levels_of_training_follow_their_formulas() -> None:
    size, factor = (64, 64), 3.0
    normal, uniform = torch.randn(5, generator=generator()), torch.rand(5, generator=generator())
    expected = {
        "logit-normal": normal.sigmoid(),
        "uniform": uniform,
        "mode": 1 - uniform - 1.29 * (torch.cos(math.pi / 2 * uniform) ** 2 - 1 + uniform),
    }
    for sampling, level in expected.items():
        found = flow(timestep_sampling=sampling).levels(5, size, generator())
        torch.testing.assert_close(found, factor * level / (1 + (factor - 1) * level))
        plain = flow(timestep_sampling=sampling, shift=1).levels(5, size, generator())
        torch.testing.assert_close(plain, level)
    assert torch.equal(flow().levels(5, size, generator()), flow(timestep_sampling="logit-normal").levels(5, size, generator()))


def test_larger_pictures_are_trained_at_more_noise_where_the_shift_follows_the_size() -> None:
    objective = Flow(Shift(by_size=True).of, 2, DenoisingSettings())
    small, large = (objective.levels(100, size, generator()).mean() for size in ((32, 32), (128, 128)))
    assert small < large - 0.05
    assert Shift(by_size=True).of(256) == pytest.approx(math.exp(0.5))
    assert Shift(by_size=True).of(4096) == pytest.approx(math.exp(1.15))


def test_cosmap_weights_the_middle_most() -> None:
    level = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(flow(loss_weighting="cosmap").weights(level), torch.tensor([1.0, 2.0, 1.0]) * 2 / math.pi)
    assert flow().weights(level) is None


def test_the_shift_may_follow_the_number_of_steps() -> None:
    scheduler = FlowScheduler(lambda steps: 10 / steps, "euler")
    for steps in (2, 5):
        scheduler.set_timesteps(steps, device="cpu")
        even, factor = 1 / steps, 10 / steps
        assert float(scheduler.timesteps[-1]) == pytest.approx(factor * even / (1 + (factor - 1) * even))


def walk(scheduler: Any, steps: int) -> Tensor:
    """From noise along a velocity that is not constant."""
    scheduler.set_timesteps(steps, device="cpu")
    latents = torch.randn(1, 2, 3, 3, generator=generator())
    for timestep in scheduler.timesteps:
        level = timestep / 1000 if timestep > 1 else timestep
        latents = scheduler.step(torch.sin(latents * 3) + level, timestep, latents).prev_sample
    return latents


def test_euler_steps_are_those_of_diffusers() -> None:
    theirs: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / 6, 6).tolist())
    latents = torch.randn(1, 2, 3, 3, generator=generator())
    for timestep, level in zip(theirs.timesteps, theirs.sigmas, strict=False):
        latents = theirs.step(torch.sin(latents * 3) + level, timestep, latents).prev_sample
    torch.testing.assert_close(walk(FlowScheduler(lambda steps: 3.0, "euler"), 6), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(walk(FlowScheduler(lambda steps: 3.0, "ddim"), 6), latents, rtol=1e-5, atol=1e-5)


def test_second_order_steps_are_those_of_dpm_solver() -> None:
    scheduler: Any = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++", prediction_type="flow_prediction", use_flow_sigmas=True, solver_order=2,
        final_sigmas_type="zero", lower_order_final=True,
    )  # fmt: skip
    scheduler.set_timesteps(12)
    ours = FlowScheduler(lambda steps: 1.0, "dpm++ 2m")
    ours.set_timesteps(12, device="cpu")
    ours._levels = scheduler.sigmas.tolist()  # theirs begin a little below 1
    ours.timesteps = scheduler.sigmas[:-1]
    latents = others = torch.randn(1, 2, 3, 3, generator=generator())
    for timestep, level in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        latents = scheduler.step(torch.sin(latents * 3) + level, timestep, latents).prev_sample
        others = ours.step(torch.sin(others * 3) + level, level, others).prev_sample
    torch.testing.assert_close(others, latents, rtol=1e-4, atol=1e-4)


def test_second_order_is_nearer_to_the_end_of_the_path() -> None:
    exact = walk(FlowScheduler(lambda steps: 1.0, "euler"), 2000)
    first, second = (
        (walk(FlowScheduler(lambda steps: 1.0, sampler), 20) - exact).abs().max() for sampler in ("euler", "dpm++ 2m")
    )
    assert second < first / 2


def test_a_sampler_that_adds_noise_is_refused() -> None:
    sampler: Sampler = "euler ancestral"
    with pytest.raises(InputError, match="euler ancestral is not for rectified-flow models") as refused:
        FlowScheduler(lambda steps: 1.0, sampler)
    assert refused.value.field == "sampler"


@pytest.mark.parametrize(
    ("prediction_type", "fields", "field"),
    [
        ("flow", {"snr_gamma": 5.0}, "snr_gamma"),
        ("flow", {"zero_terminal_snr": True}, "zero_terminal_snr"),
        ("epsilon", {"timestep_sampling": "mode"}, "timestep_sampling"),
        ("v_prediction", {"shift": 3.0}, "shift"),
        ("epsilon", {"loss_weighting": "cosmap"}, "loss_weighting"),
    ],
)
def test_settings_that_mean_nothing_are_refused(prediction_type: PredictionType, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        check_noise_settings(DenoisingSettings(**fields), prediction_type)
    assert refused.value.field == field
    for kind in ("flow", "epsilon"):
        check_noise_settings(DenoisingSettings(timestep_sampling="uniform"), kind)
