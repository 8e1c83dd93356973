"""Training on a dataset: an adapter, the denoising loss and batches, given to the one loop."""

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from nodes.diffusion.devices import Precision, eager_attention_pays
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset, LatentItem
from nodes.diffusion.handles.settings import DenoisingSettings, TrainingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.optimization.loop import StepDone, minimize
from nodes.diffusion.optimization.training_state import Checkpoint
from nodes.diffusion.randomness import generator_for
from nodes.diffusion.text.encoding import TextEmbeddings, encode_prompts
from nodes.diffusion.training.batches import Draw, Noise, TensorFiles, draw_batches, draw_noise, read_latents
from nodes.diffusion.training.objectives import denoising_loss, training_noise_scheduler

VALIDATION_LEVELS = 4
VALIDATION_ITEMS = 64


@dataclass
class DenoisingTask:
    """The loss of one model on one dataset, for every step: a pure function of the settings' seed and the step."""

    model: ActiveModel
    settings: DenoisingSettings
    latents: LatentDataset
    texts: EmbeddingDataset | CaptionedDataset
    """Cached embeddings; or captions, encoded anew at each step because the text encoder is trained."""
    smaller: str = ""
    """What the captions of pictures that are shown smaller begin with, such as `very small`."""

    def __post_init__(self) -> None:
        self.files = TensorFiles()
        self.noise_scheduler = training_noise_scheduler(
            self.model.noise_scheduler, zero_terminal_snr=self.settings.zero_terminal_snr
        )
        held = held_out(len(self.latents.items), self.settings)
        self.training = [index for index in range(len(self.latents.items)) if index not in held]
        self.validation = sorted(held)[:VALIDATION_ITEMS]
        self._batch: tuple[int, list[Draw], Noise, Tensor] | None = None
        self._drawn, self._next_step = self._stream(), 0

    def loss(self, step: int, micro_step: int) -> Tensor:
        """Return the loss of one micro batch; all of a step's noise is drawn at once, so that splitting changes nothing."""
        self.model.training_step = (step, micro_step)
        if self._batch is None or self._batch[0] != step:
            self._batch = (step, *self._draw(step))
        _, draws, drawn, latents = self._batch
        size = self.settings.batch_size
        part = slice(micro_step * size, (micro_step + 1) * size)
        return self._loss(draws[part], latents[part], drawn.noise[part], drawn.timesteps[part], self.settings.snr_gamma)

    def validation_loss(self, stop_if_asked: Callable[[], object] = lambda: None) -> float:
        """Return the mean loss of the held-out pictures at fixed timesteps and noise, unweighted.

        `stop_if_asked` is called before each picture and may raise.
        """
        losses: list[float] = []
        for index in self.validation:
            stop_if_asked()
            losses.append(self.picture_loss(index))
        return sum(losses) / len(losses)

    def picture_loss(self, index: int) -> float:
        """Return the mean loss of one picture at fixed timesteps and noise, unweighted."""
        steps = len(self.noise_scheduler.alphas_cumprod)
        item = self.latents.items[index]
        latents = read_latents([item.views[0]], self.files, None).repeat(VALIDATION_LEVELS, 1, 1, 1)
        noise = torch.randn(latents.shape, generator=generator_for(self.settings.seed, "validation", index))
        timesteps = torch.tensor([(2 * n + 1) * steps // (2 * VALIDATION_LEVELS) for n in range(VALIDATION_LEVELS)])
        draws = [Draw(index, item.views[0], 0)] * VALIDATION_LEVELS
        with torch.no_grad():
            return float(self._loss(draws, latents, noise, timesteps, 0.0))

    def _stream(self) -> Any:
        items: list[LatentItem] = [self.latents.items[index] for index in self.training]
        variants = [len(self._captions[index]) for index in self.training]
        effective = self.settings.batch_size * self.settings.gradient_accumulation_steps
        dropout = self.texts.caption_dropout
        return draw_batches(items, variants, batch_size=effective, caption_dropout=dropout, seed=self.settings.seed)

    def _draw(self, step: int) -> tuple[list[Draw], Noise, Tensor]:
        if step != self._next_step:  # the first step of a resumed training
            self._drawn = itertools.islice(self._stream(), step, None)
        self._next_step = step + 1
        draws = [Draw(self.training[draw.item], draw.view, draw.caption) for draw in next(self._drawn)]
        sampling = generator_for(self.settings.seed, "latents", step) if self.settings.sample_latents else None
        latents = read_latents([draw.view for draw in draws], self.files, sampling)
        drawn = draw_noise(
            latents.shape,
            num_train_timesteps=len(self.noise_scheduler.alphas_cumprod),
            noise_offset=self.settings.noise_offset,
            seed=self.settings.seed,
            step=step,
        )
        return draws, drawn, latents

    def _loss(self, draws: Sequence[Draw], latents: Tensor, noise: Tensor, timesteps: Tensor, snr_gamma: float) -> Tensor:
        device = self.model.device
        text = self._text(draws)
        return denoising_loss(
            self.model.unet,
            self.noise_scheduler,
            latents.to(device),
            noise.to(device),
            timesteps.to(device),
            text.hidden,
            added=added_conditions(text, draws, device),
            class_labels=text.class_labels,
            snr_gamma=snr_gamma,
            mask=valid_mask(draws, latents.to(device)),
        )

    @cached_property
    def _captions(self) -> list[tuple[str, ...]]:
        if isinstance(self.texts, CaptionedDataset):
            return list(self.texts.captions)
        return [item.captions for item in self.texts.items]

    def _written(self, draws: Sequence[Draw]) -> list[str]:
        """The caption of each draw; where the method wants it, one that shows its picture smaller says so."""
        captions = ["" if draw.caption is None else self._captions[draw.item][draw.caption] for draw in draws]
        return [
            f"{self.smaller} {caption}" if self.smaller and caption and draw.view.valid else caption
            for caption, draw in zip(captions, draws, strict=True)
        ]

    def _text(self, draws: Sequence[Draw]) -> TextEmbeddings:
        if isinstance(self.texts, CaptionedDataset):
            return encode_prompts(self.model, self._written(draws), emphasis=self.texts.emphasis)
        texts = self.texts
        paths = [texts.empty if draw.caption is None else texts.items[draw.item].files[draw.caption] for draw in draws]
        read = [self.files.read(path) for path in paths]
        stacked = {name: torch.stack([tensors[name] for tensors in read]).to(self.model.device) for name in read[0]}
        return TextEmbeddings(stacked["hidden"], stacked.get("pooled"))


def valid_mask(draws: Sequence[Draw], latents: Tensor) -> Tensor | None:
    """Return 1 [n, 1, h, w] where a latent pixel lies wholly inside its picture, 0 elsewhere; None when all do."""
    if all(draw.view.valid is None for draw in draws):
        return None
    mask = torch.ones(len(draws), 1, *latents.shape[2:], device=latents.device)
    for row, view in zip(mask, (draw.view for draw in draws), strict=True):
        if view.valid is not None:
            factor = view.size[0] // latents.shape[3]
            left = min(-(-view.valid[0] // factor), latents.shape[3] - 1)
            top = min(-(-view.valid[1] // factor), latents.shape[2] - 1)
            right, bottom = max(left + 1, view.valid[2] // factor), max(top + 1, view.valid[3] // factor)
            row.zero_()[:, top:bottom, left:right] = 1
    return mask


def added_conditions(text: TextEmbeddings, draws: Sequence[Draw], device: torch.device) -> dict[str, Tensor] | None:
    """SDXL's micro-conditioning (Podell et al. 2023, 2.2): original size, crop and target size of each sample, (h, w)."""
    if text.pooled is None:
        return None
    rows = [[*v.original_size[::-1], *v.crop[::-1], *v.size[::-1]] for v in (draw.view for draw in draws)]
    return {"text_embeds": text.pooled, "time_ids": torch.tensor(rows, device=device, dtype=text.pooled.dtype)}


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
    """A loss of one model, for every step."""

    model: ActiveModel

    def loss(self, step: int, micro_step: int) -> Tensor: ...


def train(
    task: Task,
    parameters: dict[str, nn.Parameter],
    settings: DenoisingSettings,
    *,
    precision: Precision,
    report: Callable[[StepDone], object],
    checkpoint: Checkpoint | None,
) -> dict[str, Tensor]:
    """Minimize the task's loss over `parameters`, which act on its model; return their trained values."""
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    with _fit_for_training(task.model, settings):
        minimize(
            parameters,
            task.loss,
            settings,
            device=task.model.device,
            precision=precision,
            report=report,
            checkpoint=checkpoint,
        )
    return {name: parameter.detach().float().cpu().clone() for name, parameter in parameters.items()}


@contextmanager
def _fit_for_training(model: ActiveModel, settings: DenoisingSettings) -> Generator[None]:
    """Choose the attention that trains fastest and, if wanted, checkpoint activations; undo both afterwards."""
    unet: Any = model.unet
    before = unet.attn_processors
    if eager_attention_pays(model.device):
        unet.set_attn_processor(AttnProcessor())
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        unet.set_attn_processor(before)
        model.training_step = None
        if settings.gradient_checkpointing:
            unet.disable_gradient_checkpointing()
