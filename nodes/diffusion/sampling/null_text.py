"""Null-text inversion (Mokady et al. 2023): one unconditional embedding per timestep leads guided DDIM back to a picture."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from nodes.diffusion.devices import eager_attention_pays
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.optimization.loop import minimize
from nodes.diffusion.optimization.training_state import TrainingState
from nodes.diffusion.sampling.ddim import Schedule, ddim_step, prediction_at, unconditional_text
from nodes.diffusion.sampling.prompt_to_prompt import AttentionControl, controlled, processors_set
from nodes.diffusion.text.conditions import Conditions, joined
from nodes.diffusion.text.encoding import encode_prompts


@dataclass(frozen=True)
class NullTextTask:
    """What is to be reached: the way `path` [T + 1, c, h, w] from picture to noise, walked back with guidance."""

    model: ActiveModel
    schedule: Schedule
    path: Tensor
    text: Conditions
    """The prompt's."""
    unconditional: Conditions
    """The first values; `pooled` stays."""
    guidance_scale: float = 7.5
    inner_steps: int = 10
    learning_rate: float = 1e-2
    """At the first timestep; it falls evenly to half at the last, as 1 - i / 100 does over the paper's 50."""
    early_stop: float = 1e-5
    """Squared error at which the first timestep is left; it rises evenly to a hundredfold, as 1e-5 + 2e-5 i does over 50."""


def first_null_text(model: ActiveModel) -> Conditions:
    """Return the empty caption's embedding, with the pooled text of guidance, which for SDXL is zeros.

    The embedding itself may not begin at zeros: all tokens would get the same gradient and stay equal for ever.
    """
    return unconditional_text(model).replaced(hidden=encode_prompts(model, [""])["hidden"])


class _CloseEnough(Exception):
    """Ends the optimization of one timestep; carries the latents reached and their error."""


def optimize_null_text(
    task: NullTextTask,
    *,
    report: Callable[[int, float], object] = lambda step, loss: None,
    checkpoint: TrainingState | None = None,
) -> Tensor:
    """Return the unconditional embeddings [T, tokens, d], the noisiest timestep's first.

    Each timestep begins with the embedding of the one before it (algorithm 1). `report` hears of each timestep and its
    squared error, and may raise to stop; `checkpoint` then holds the timesteps done.
    """
    device = task.model.device
    state = (checkpoint.load() if checkpoint else None) or {"uncond": [], "latents": task.path[-1:]}
    found: list[Tensor] = [embedding.to(device) for embedding in state["uncond"]]
    latents: Tensor = state["latents"].to(device)
    # attention's backward pass is what costs most here
    faster = processors_set(task.model.unet, AttnProcessor()) if eager_attention_pays(device) else nullcontext()
    with faster:
        for number in range(len(found), len(task.schedule.timesteps)):
            first = found[-1] if found else task.unconditional["hidden"]
            embedding, latents, loss = _one_timestep(task, number, latents, first)
            found.append(embedding)
            if checkpoint:
                checkpoint.save({"uncond": found, "latents": latents})
            report(number + 1, loss)
    return torch.cat(found)


def _one_timestep(task: NullTextTask, number: int, latents: Tensor, first: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return a timestep's embedding [1, tokens, d], the latents that it leads to, and their squared error.

    The conditional prediction does not depend on the embedding: it is made once, and gradients pass it by.
    """
    timestep, share = task.schedule.timesteps[number], number / len(task.schedule.timesteps)
    target = task.path[-2 - number][None].to(latents.device)
    enough = task.early_stop * (1 + 100 * share)
    embedding = nn.Parameter(first.detach().clone())
    with torch.no_grad():
        conditional = prediction_at(task.model, latents, timestep, task.text)

    def reached() -> Tensor:
        text = task.unconditional.replaced(hidden=embedding)
        unconditional = prediction_at(task.model, latents, timestep, text)
        guided = unconditional + task.guidance_scale * (conditional - unconditional)
        return ddim_step(guided, latents, task.schedule, number, number + 1)

    def loss(step: int, micro_step: int) -> Tensor:
        there = reached()
        error = nn.functional.mse_loss(there, target)
        if float(error.detach()) < enough:  # before a needless backward pass, and with the next latents in hand
            raise _CloseEnough(there.detach(), float(error.detach()))
        return error

    settings = TrainingSettings(
        max_steps=task.inner_steps, learning_rate=task.learning_rate * (1 - share / 2), weight_decay=0, max_grad_norm=0
    )
    try:
        minimize({"uncond": embedding}, loss, settings, device=latents.device)
        with torch.no_grad():
            there = reached()
        return embedding.detach(), there, float(nn.functional.mse_loss(there, target))
    except _CloseEnough as close:
        return embedding.detach(), *close.args


@dataclass(frozen=True)
class Edit:
    """Another prompt for the same picture."""

    text: Conditions
    alignment: Tensor
    """From `align_tokens`."""
    cross_replace_steps: float = 0.8
    self_replace_steps: float = 0.5


@torch.no_grad()
def replay(
    model: ActiveModel,
    schedule: Schedule,
    noise: Tensor,
    text: Conditions,
    unconditional: Conditions,
    *,
    guidance_scale: float,
    edit: Edit | None = None,
    on_step: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Walk from noise [1, c, h, w] back to a picture; return its latents [1, c, h, w], those of the edit when there is one.

    `hidden` of `unconditional` has a row for each timestep, or one for all. With an edit, both pictures are walked to together.
    """
    count = 2 if edit else 1
    prompts = [text, edit.text] if edit else [text]
    control = AttentionControl(edit.alignment, edit.cross_replace_steps, edit.self_replace_steps) if edit else None
    latents = noise.to(model.device).repeat(count, 1, 1, 1)
    rows = unconditional["hidden"].expand(len(schedule.timesteps), -1, -1)
    with controlled(model.unet, control) if control else nullcontext():
        for number, timestep in enumerate(schedule.timesteps):
            if control:
                control.progress = number / len(schedule.timesteps)
            null = unconditional.replaced(hidden=rows[number : number + 1])
            output = prediction_at(model, torch.cat([latents, latents]), timestep, joined([*[null] * count, *prompts]))
            without, given = output.chunk(2)
            latents = ddim_step(without + guidance_scale * (given - without), latents, schedule, number, number + 1)
            on_step(number + 1)
    return latents[-1:]
