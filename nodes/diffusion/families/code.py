"""The heavy side of a family: its computations, imported on demand from the `code` of the family's folder.

`predict` is the only caller of a denoiser: what else a denoiser is given, how its time counts and what sign its output has are
the family's own affair.
"""

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from torch import Tensor

from nodes.diffusion.families.objective import Objective
from nodes.diffusion.families.registry import package_of
from nodes.diffusion.families.schedulers import Sampler, Scheduler
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.latent_space import LatentSpace
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.prompt_syntax import Emphasis


class Code(Protocol):
    """The functions in a family's `code`."""

    def encode_prompts(self, model: ActiveModel, prompts: Sequence[str], /, *, emphasis: Emphasis) -> Conditions: ...
    def cut_prompts(self, model: ActiveModel, prompts: Sequence[str], emphasis: Emphasis, /) -> dict[str, int]: ...
    def predict(
        self, model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes], /
    ) -> Tensor: ...
    def objective(self, model: ActiveModel, settings: DenoisingSettings, /) -> Objective: ...
    def for_training(self, model: ActiveModel, /, *, gradient_checkpointing: bool) -> AbstractContextManager[None]: ...
    def scheduler(self, model: ActiveModel, sampler: Sampler, size: tuple[int, int], /) -> Scheduler: ...
    def latent_space(self, vae: Any, /) -> LatentSpace: ...
    def live_numbers(self, model: ActiveModel, size: tuple[int, int], /) -> int: ...


def code_of(model: ActiveModel) -> Code:
    """Return the computations of a model's family."""
    return cast(Code, importlib.import_module(f"{package_of(model.info.family)}.code"))


def encode_prompts(model: ActiveModel, prompts: Sequence[str], *, emphasis: Emphasis = "none") -> Conditions:
    """Return the conditions of prompts, as the family was trained; `emphasis` says what brackets mean to a CLIP family."""
    return code_of(model).encode_prompts(model, prompts, emphasis=emphasis)


def cut_prompts(model: ActiveModel, prompts: Sequence[str], emphasis: Emphasis = "none") -> dict[str, int]:
    """Return the prompts that are too long for the model, and how many tokens of each are cut."""
    return code_of(model).cut_prompts(model, prompts, emphasis)


def predict(
    model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes]
) -> Tensor:
    """Return the denoiser's prediction [n, c, h, w], in the type that it computes with.

    `level` holds the noise level of each of n samples, or one for all; conditions and sizes have a row for each.
    """
    return code_of(model).predict(model, noisy_latents, level, conditions, sizes)


def objective(model: ActiveModel, settings: DenoisingSettings) -> Objective:
    """Return what the model is trained to predict, and at which noise levels."""
    return code_of(model).objective(model, settings)


def for_training(model: ActiveModel, *, gradient_checkpointing: bool) -> AbstractContextManager[None]:
    """Prepare the denoiser for training; afterwards it is as before."""
    return code_of(model).for_training(model, gradient_checkpointing=gradient_checkpointing)


def make_scheduler(model: ActiveModel, sampler: Sampler, size: tuple[int, int] | None = None) -> Scheduler:
    """Return a fresh scheduler of the model's own noise levels for pictures of `size` (w, h) pixels, or of its native size."""
    return code_of(model).scheduler(model, sampler, size or (model.info.resolution, model.info.resolution))


def latent_space(model: ActiveModel) -> LatentSpace:
    """Return the latents of the model's VAE as its denoiser knows them."""
    return code_of(model).latent_space(model.vae)


def live_numbers(model: ActiveModel, size: tuple[int, int]) -> int:
    """Return how many numbers the denoiser holds at its fullest for one picture of `size` (w, h) pixels."""
    return code_of(model).live_numbers(model, size)
