"""The heavy side of a family: its computations, imported on demand from the `code` of the family's folder.

`predict` is the only caller of a denoiser: what else a denoiser is given, how its time counts and what sign its output has are
the family's own affair.
"""

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, cast

from torch import Tensor

from nodes.diffusion.families.objective import Objective
from nodes.diffusion.families.registry import package_of
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.conditions import Conditions


class Code(Protocol):
    """The functions in a family's `code`."""

    def predict(
        self, model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes], /
    ) -> Tensor: ...
    def objective(self, model: ActiveModel, /, *, zero_terminal_snr: bool) -> Objective: ...
    def for_training(self, model: ActiveModel, /, *, gradient_checkpointing: bool) -> AbstractContextManager[None]: ...


def code_of(model: ActiveModel) -> Code:
    """Return the computations of a model's family."""
    return cast(Code, importlib.import_module(f"{package_of(model.info.family)}.code"))


def predict(
    model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes]
) -> Tensor:
    """Return the denoiser's prediction [n, c, h, w], in the type that it computes with.

    `level` holds the noise level of each of n samples, or one for all; conditions and sizes have a row for each.
    """
    return code_of(model).predict(model, noisy_latents, level, conditions, sizes)


def objective(model: ActiveModel, *, zero_terminal_snr: bool) -> Objective:
    """Return what the model is trained to predict, and at which noise levels."""
    return code_of(model).objective(model, zero_terminal_snr=zero_terminal_snr)


def for_training(model: ActiveModel, *, gradient_checkpointing: bool) -> AbstractContextManager[None]:
    """Prepare the denoiser for training; afterwards it is as before."""
    return code_of(model).for_training(model, gradient_checkpointing=gradient_checkpointing)
