"""Deterministic DDIM (Song et al. 2021, eq. 12 with sigma 0), from noise to a picture and back over the same timesteps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nodes.diffusion.families.code import latent_space, predict
from nodes.diffusion.families.ddpm import picture_and_noise
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.schedulers import ddpm_scheduler
from nodes.diffusion.families.sizes import shown_whole
from nodes.diffusion.handles.models import PredictionType
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.encoding import encode_prompts


@dataclass(frozen=True)
class Schedule:
    """T timesteps from noise to picture, and T + 1 levels: the cumulative alpha at each timestep and that of the picture."""

    timesteps: tuple[int, ...]
    alphas: tuple[float, ...]
    prediction_type: PredictionType


def ddim_schedule(model: ActiveModel, num_inference_steps: int) -> Schedule:
    """Return the timesteps of the model's own DDIM scheduler, with its spacing and offset."""
    scheduler = ddpm_scheduler(model.scheduler_config, "ddim", zero_terminal_snr=model.handle.zero_terminal_snr)
    scheduler.set_timesteps(num_inference_steps)
    timesteps = [int(timestep) for timestep in scheduler.timesteps]
    alphas = [float(scheduler.alphas_cumprod[timestep]) for timestep in timesteps]
    return Schedule(tuple(timesteps), (*alphas, float(scheduler.final_alpha_cumprod)), model.info.prediction_type)


def ddim_step(output: Tensor, latents: Tensor, schedule: Schedule, level: int, to_level: int) -> Tensor:
    """Move latents from one level of the schedule to another along the model's output, which is noise or velocity."""
    picture, noise = picture_and_noise(output, latents, schedule.alphas[level], schedule.prediction_type)
    to_alpha = schedule.alphas[to_level]
    return to_alpha**0.5 * picture + (1 - to_alpha) ** 0.5 * noise


def prediction_at(model: ActiveModel, latents: Tensor, timestep: int, text: Conditions) -> Tensor:
    """Return the model's output for latents [n, c, h, w] and n prompts, in float32."""
    factor = latent_space(model).factor
    size = (latents.shape[3] * factor, latents.shape[2] * factor)
    level = torch.tensor(timestep, device=model.device)
    return predict(model, latents, level, text, [shown_whole(size)] * len(latents)).float()


def unconditional_text(model: ActiveModel) -> Conditions:
    """Return the conditioning of guidance without a negative prompt, as SampleImages takes it: SDXL learned zeros."""
    text = encode_prompts(model, [""])
    return text.zeros() if facts(model.info.family).zeros_when_unconditional else text


@torch.no_grad()
def invert(
    model: ActiveModel,
    latents: Tensor,
    text: Conditions,
    schedule: Schedule,
    on_step: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Return the way of a picture's latents [1, c, h, w] to noise, without guidance: [T + 1, c, h, w], the picture first.

    Each step asks the model at the timestep that it goes to, which the replay will ask at just there.
    """
    path = [latents.to(model.device)]
    for number, level in enumerate(reversed(range(len(schedule.timesteps))), 1):
        output = prediction_at(model, path[-1], schedule.timesteps[level], text)
        path.append(ddim_step(output, path[-1], schedule, level + 1, level))
        on_step(number)
    return torch.cat(path).contiguous()
