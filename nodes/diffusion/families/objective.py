"""Training objectives: the prediction and the noise levels; `ddpm.py` holds denoising diffusion, `flow.py` rectified flow."""

from typing import Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """The forward process of a family and the loss that belongs to it; levels are in the denoiser's own numbers."""

    def levels(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Return `count` random noise levels [n] to train at, for latents of `size` (h, w)."""
        ...

    def fixed_levels(self, count: int) -> Tensor:
        """Return `count` levels [n] spread evenly, for a validation that is the same each time."""
        ...

    def noisy(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return latents [n, c, h, w] with noise of levels [n]."""
        ...

    def target(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return what the denoiser should predict, [n, c, h, w]."""
        ...

    def weights(self, level: Tensor) -> Tensor | None:
        """Return the loss weights [n] of samples with noise of levels [n]; None where all weigh the same."""
        ...
