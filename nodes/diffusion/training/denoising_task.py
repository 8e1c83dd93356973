"""Training on a dataset: an adapter, the denoising loss and batches, given to the one loop."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from nodes.diffusion.devices import Precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import encode_prompts, for_training, objective, predict
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.settings import DenoisingSettings, TrainingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.optimization.loop import StepDone, minimize
from nodes.diffusion.optimization.training_state import TrainingState
from nodes.diffusion.randomness import generator_for
from nodes.diffusion.text.conditions import Conditions, stacked
from nodes.diffusion.training.batches import Draw, Noise, TensorFiles, draw_batches, draw_noise, read_latents
from nodes.diffusion.training.denoising_loss import denoising_loss, valid_mask

VALIDATION_LEVELS = 4
VALIDATION_ITEMS = 64
Predict = Callable[[ActiveModel, Tensor, Tensor, Conditions, Sequence[ShownSizes]], Tensor]
"""As `families.code.predict`."""


@dataclass
class DenoisingTask:
    """The loss of one model on one dataset, for every step: a pure function of the settings' seed and the step.

    A special loss hands in functions for what it does differently.
    """

    model: ActiveModel
    settings: DenoisingSettings
    latents: LatentDataset
    texts: EmbeddingDataset | CaptionedDataset
    """Cached embeddings; or captions, encoded anew at each step because the text encoder is trained."""
    caption_of: Callable[[str, Draw], str] = lambda caption, draw: caption
    """What a caption, empty where caption dropout left it out, becomes for one sample."""
    conditions_of: Callable[["DenoisingTask", Sequence[Draw]], Conditions] | None = None
    """The conditions of the samples of a batch; those of the texts without it."""
    predict: Predict = predict

    def __post_init__(self) -> None:
        self.files = TensorFiles()
        self.objective = objective(self.model, self.settings)
        held = held_out(len(self.latents.items), self.settings)
        self.training = [index for index in range(len(self.latents.items)) if index not in held]
        self.validation = sorted(held)[:VALIDATION_ITEMS]
        self._batch: tuple[int, list[Draw], Noise, Tensor] | None = None
        self._batches, self._next_step = self._stream(), 0

    def loss(self, step: int, micro_step: int) -> Tensor:
        """Return the loss of one micro batch; a step's noise is made all at once, so that splitting changes nothing."""
        self.model.training_step = (step, micro_step)
        if self._batch is None or self._batch[0] != step:
            self._batch = (step, *self._batch_of(step))
        _, draws, random, latents = self._batch
        size = self.settings.batch_size
        part = slice(micro_step * size, (micro_step + 1) * size)
        return self._loss(draws[part], latents[part], random.noise[part], random.levels[part])

    def validation_loss(self, stop_if_asked: Callable[[], object] = lambda: None) -> float:
        """Return the mean loss of the held-out pictures at fixed levels and noise, unweighted.

        `stop_if_asked` is called before each picture and may raise.
        """
        losses: list[float] = []
        for index in self.validation:
            stop_if_asked()
            losses.append(self.picture_loss(index))
        return sum(losses) / len(losses)

    def picture_loss(self, index: int) -> float:
        """Return the mean loss of one picture at fixed levels and noise, unweighted."""
        item = self.latents.items[index]
        latents = read_latents([item.views[0]], self.files, None).repeat(VALIDATION_LEVELS, 1, 1, 1)
        noise = torch.randn(latents.shape, generator=generator_for(self.settings.seed, "validation", index))
        draws = [Draw(index, item.views[0], 0)] * VALIDATION_LEVELS
        with torch.no_grad():
            return float(self._loss(draws, latents, noise, self.objective.fixed_levels(VALIDATION_LEVELS), weighted=False))

    def captions_of(self, draws: Sequence[Draw]) -> list[str]:
        """Return the caption of each sample."""
        captions = ["" if draw.caption is None else self._captions[draw.item][draw.caption] for draw in draws]
        return [self.caption_of(caption, draw) for caption, draw in zip(captions, draws, strict=True)]

    def text_conditions(self, draws: Sequence[Draw]) -> Conditions:
        """Return the conditions of the samples' texts: encoded now, or read from the cache."""
        texts = self.texts
        if isinstance(texts, CaptionedDataset):
            return encode_prompts(self.model, self.captions_of(draws), emphasis=texts.emphasis)
        paths = [texts.empty if draw.caption is None else texts.items[draw.item].files[draw.caption] for draw in draws]
        read = [self.files.read(path) for path in paths]
        return stacked(read).to(self.model.device)

    def _stream(self) -> Iterator[list[Draw]]:
        items = [self.latents.items[index] for index in self.training]
        variants = [len(self._captions[index]) for index in self.training]
        effective = self.settings.batch_size * self.settings.gradient_accumulation_steps
        dropout = self.texts.caption_dropout
        return draw_batches(items, variants, batch_size=effective, caption_dropout=dropout, seed=self.settings.seed)

    def _batch_of(self, step: int) -> tuple[list[Draw], Noise, Tensor]:
        if step != self._next_step:  # the first step of a resumed training
            self._batches = itertools.islice(self._stream(), step, None)
        self._next_step = step + 1
        draws = [replace(draw, item=self.training[draw.item]) for draw in next(self._batches)]
        sampled = self.settings.sample_latents and facts(self.model.info.family).samples_latents
        sampling = generator_for(self.settings.seed, "latents", step) if sampled else None
        latents = read_latents([draw.view for draw in draws], self.files, sampling)
        offset, seed = self.settings.noise_offset, self.settings.seed
        return draws, draw_noise(latents.shape, self.objective.levels, noise_offset=offset, seed=seed, step=step), latents

    def _loss(self, draws: Sequence[Draw], latents: Tensor, noise: Tensor, levels: Tensor, *, weighted: bool = True) -> Tensor:
        device, views = self.model.device, [draw.view for draw in draws]
        conditions = self.conditions_of(self, draws) if self.conditions_of else self.text_conditions(draws)
        sizes = [ShownSizes(view.original_size, view.crop, view.size) for view in views]
        levels = levels.to(device)
        return denoising_loss(
            lambda noisy, level: self.predict(self.model, noisy, level, conditions, sizes),
            self.objective,
            latents.to(device),
            noise.to(device),
            levels,
            weights=self.objective.weights(levels) if weighted else None,
            mask=valid_mask(views, latents.to(device)),
        )

    @cached_property
    def _captions(self) -> list[tuple[str, ...]]:
        if isinstance(self.texts, CaptionedDataset):
            return list(self.texts.captions)
        return [item.captions for item in self.texts.items]


def held_out(count: int, settings: TrainingSettings) -> set[int]:
    """Choose the pictures that are kept for validation."""
    if not settings.validation_fraction:
        return set()
    number = max(1, round(count * settings.validation_fraction))
    if number >= count:
        remedy = "Add pictures, or set it to 0."
        raise InputError(f"{count} pictures are too few to hold some out.", field="validation_fraction", remedy=remedy)
    order = torch.randperm(count, generator=generator_for(settings.seed, "held out")).tolist()
    return set(order[:number])


class Task(Protocol):
    """A loss of one model for every step, and what is measured of it."""

    @property
    def model(self) -> ActiveModel: ...
    @property
    def validation(self) -> list[int]: ...
    def loss(self, step: int, micro_step: int) -> Tensor: ...
    def validation_loss(self, stop_if_asked: Callable[[], object] = ...) -> float: ...


def train(
    task: Task,
    parameters: dict[str, nn.Parameter],
    settings: DenoisingSettings,
    *,
    precision: Precision,
    report: Callable[[StepDone], object],
    checkpoint: TrainingState | None,
) -> dict[str, Tensor]:
    """Minimize the task's loss over `parameters`, which act on its model; return their trained values."""
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    model = task.model
    try:
        with for_training(model, gradient_checkpointing=settings.gradient_checkpointing):
            minimize(
                parameters,
                task.loss,
                settings,
                device=model.device,
                precision=precision,
                report=report,
                checkpoint=checkpoint,
            )
    finally:
        model.training_step = None
    return {name: parameter.detach().float().cpu().clone() for name, parameter in parameters.items()}
