"""The denoising loss of bases conditioned on a CLIP image embedding: while the base is trained, and while an embedding is."""

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nodes.diffusion.families.image_variation.model import ImageVariation
from nodes.diffusion.models.empty_unet import empty_unet
from nodes.diffusion.randomness import generator_for
from nodes.diffusion.text.encoding import TextEmbeddings
from nodes.diffusion.training.batches import Draw
from nodes.diffusion.training.denoising_task import VALIDATION_ITEMS, DenoisingTask

SPREAD = 0.05
"""Deviation of what sets several vectors apart at first, in deviations of the mean embedding: equal ones would stay equal."""
CROSS_ATTENTION = ("attn2.to_v.weight", "attn2.to_out.0.weight", "attn2.to_out.0.bias")
UNREACHED = re.compile(r"transformer_blocks\.\d+\.(norm2|attn2\.(to_q|to_k|norm_q|norm_k))\.")
"""Where one token of context is attended to with weight 1, whatever the queries and keys are: no gradient comes there."""


def trained_names(unet: Path, weights: Literal["all", "cross-attention"]) -> tuple[str, ...]:
    """Return the names, or endings of names, of what training with one token of context can change; no weights are read."""
    if weights == "cross-attention":
        return CROSS_ATTENTION
    return tuple(name for name, _ in empty_unet(unet).named_parameters() if not UNREACHED.search(name))


@dataclass
class VariationTask(DenoisingTask):
    """Each picture with its own image embedding: file number v of a picture's `texts` belongs to its view number v."""

    def _text(self, draws: Sequence[Draw]) -> TextEmbeddings:
        views = [self.latents.items[draw.item].views for draw in draws]
        pairs = zip(draws, views, strict=True)
        own = [draw if draw.caption is None else replace(draw, caption=all_.index(draw.view)) for draw, all_ in pairs]
        return super()._text(own)


@dataclass(kw_only=True)
class InversionTask(DenoisingTask):
    """Every picture with the same vectors [k, d], which are what is trained (Gal et al. 2022, eq. 2, with c(y) replaced)."""

    base: ImageVariation
    vectors: nn.Parameter
    start: Tensor
    pull: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.validation = self.validation or list(range(len(self.latents.items)))[:VALIDATION_ITEMS]

    def loss(self, step: int, micro_step: int) -> Tensor:
        """Return the denoising loss of one micro batch, and `pull` times the mean squared distance from the start."""
        return super().loss(step, micro_step) + self.pull * (self.vectors - self.start).square().mean()

    def _text(self, draws: Sequence[Draw]) -> TextEmbeddings:
        return self.base.conditions(self.vectors.expand(len(draws), -1, -1))

    def loss_at_start(self, stop_if_asked: Callable[[], object] = lambda: None) -> float:
        """Return the loss at fixed timesteps and noise of the vectors that the training began with."""
        with self._at_start():
            return self.validation_loss(stop_if_asked)

    @contextmanager
    def _at_start(self) -> Generator[None]:
        trained = self.vectors.data
        self.vectors.data = self.start
        try:
            yield
        finally:
            self.vectors.data = trained


def first_vectors(mean: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` vectors [count, d] at the mean embedding [d], set slightly apart when there are several.

    Equal tokens act like a single one, so the untrained vectors act like the mean.
    """
    vectors = mean.repeat(count, 1)
    if count == 1:
        return vectors
    noise = torch.randn(vectors.shape, generator=generator_for(seed, "vectors"))
    return vectors + SPREAD * mean.std() * noise.to(vectors.device)
