"""The denoising loss of bases conditioned on a CLIP image embedding: while the base is trained, and while an embedding is."""

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nodes.diffusion.families.image_variation.model import ImageVariation
from nodes.diffusion.handles.datasets import EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.empty_denoiser import empty_unet
from nodes.diffusion.randomness import generator_for
from nodes.diffusion.text.conditions import Conditions
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


def own_views(task: DenoisingTask, draws: Sequence[Draw]) -> Conditions:
    """Return the image embedding of each picture's own view: file number v of a picture's `texts` belongs to view number v."""
    views = [task.latents.items[draw.item].views for draw in draws]
    pairs = zip(draws, views, strict=True)
    return task.text_conditions(
        [draw if draw.caption is None else replace(draw, caption=own.index(draw.view)) for draw, own in pairs]
    )


class InversionTask:
    """Every picture with the same vectors [k, d], which are what is trained (Gal et al. 2022, eq. 2, with c(y) replaced)."""

    def __init__(
        self,
        base: ImageVariation,
        settings: DenoisingSettings,
        latents: LatentDataset,
        texts: EmbeddingDataset,
        *,
        vectors: nn.Parameter,
        start: Tensor,
        pull: float = 0.0,
    ) -> None:
        self.vectors, self.start, self.pull = vectors, start, pull

        def same_vectors(_: DenoisingTask, draws: Sequence[Draw]) -> Conditions:
            return base.conditions(vectors.expand(len(draws), -1, -1))

        self._denoising = DenoisingTask(base.model, settings, latents, texts, conditions_of=same_vectors)
        if not self._denoising.validation:
            self._denoising.validation = list(range(len(latents.items)))[:VALIDATION_ITEMS]

    @property
    def model(self) -> ActiveModel:
        return self._denoising.model

    @property
    def validation(self) -> list[int]:
        return self._denoising.validation

    def loss(self, step: int, micro_step: int) -> Tensor:
        """Return the denoising loss of one micro batch, and `pull` times the mean squared distance from the start."""
        return self._denoising.loss(step, micro_step) + self.pull * (self.vectors - self.start).square().mean()

    def validation_loss(self, stop_if_asked: Callable[[], object] = lambda: None) -> float:
        """Return the loss at fixed levels and noise of the vectors as they are now."""
        return self._denoising.validation_loss(stop_if_asked)

    def loss_at_start(self, stop_if_asked: Callable[[], object] = lambda: None) -> float:
        """Return the same of the vectors that the training began with."""
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
