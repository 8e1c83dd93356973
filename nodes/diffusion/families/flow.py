"""Rectified flow (Liu et al. 2023; Esser et al. 2024): the velocity from picture to noise, at levels from 0 to 1."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.handles.settings import DenoisingSettings

MODE_SCALE = 1.29
"""How strongly `mode` prefers one part of the levels (Esser et al. 2024, eq. 20)."""


@dataclass(frozen=True)
class Shift:
    """How far levels are moved toward noise: by a constant, or by exp(mu) with mu linear in the tokens of the picture."""

    constant: float = 1.0
    by_size: bool = False
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096

    def of(self, tokens: int) -> float:
        """Return the factor s of a picture of so many tokens."""
        if not self.by_size:
            return self.constant
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        return math.exp(self.base_shift + slope * (tokens - self.base_tokens))


def shift_in(config: Mapping[str, Any]) -> Shift:
    """Return the shift that a FlowMatchEulerDiscreteScheduler's configuration states, with diffusers' defaults."""
    return Shift(
        float(config.get("shift") or 1.0),
        bool(config.get("use_dynamic_shifting")),
        config.get("base_shift") or 0.5,
        config.get("max_shift") or 1.15,
        config.get("base_image_seq_len") or 256,
        config.get("max_image_seq_len") or 4096,
    )


def shifted(level: Tensor, factor: float) -> Tensor:
    """Return levels moved toward noise (Esser et al. 2024, eq. 23)."""
    return factor * level / (1 + (factor - 1) * level)


class Flow:
    """The objective of models that predict noise - picture at x_t = (1 - t) picture + t noise; levels are t."""

    def __init__(self, shift_of: Callable[[int], float], patch: int, settings: DenoisingSettings) -> None:
        self.shift_of = Shift(settings.shift).of if settings.shift else shift_of
        """The factor by which levels move toward noise, by the tokens of a picture."""
        self.patch = patch
        """Latent pixels in the side of a token."""
        self.sampling = settings.timestep_sampling
        self.weighting = settings.loss_weighting

    def levels(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Return `count` random levels [n] (Esser et al. 2024, 3.1), shifted for latents of `size` (h, w)."""
        if self.sampling in ("automatic", "logit-normal"):
            level = torch.randn(count, generator=generator).sigmoid()
        else:
            level = torch.rand(count, generator=generator)
        if self.sampling == "mode":
            level = 1 - level - MODE_SCALE * ((math.pi / 2 * level).cos() ** 2 - 1 + level)
        return shifted(level, self.shift_of(size[0] * size[1] // self.patch**2))

    def fixed_levels(self, count: int) -> Tensor:
        """Return the levels [n] in the middle of `count` equal parts."""
        return (torch.arange(count) + 0.5) / count

    def noisy(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return latents [n, c, h, w] with noise of levels [n]."""
        t = level.reshape(-1, 1, 1, 1)
        return (1 - t) * latents + t * noise

    def target(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return the velocity, the same at all levels."""
        return noise - latents

    def weights(self, level: Tensor) -> Tensor | None:
        """Return the weights [n] of `cosmap`, 2 / (pi (1 - 2 t + 2 t^2)) (Esser et al. 2024, 3.1); None without it."""
        return 2 / (math.pi * (1 - 2 * level + 2 * level**2)) if self.weighting == "cosmap" else None
