"""Bases conditioned on a CLIP image embedding in memory, and what their UNets are given for one.

Image variations give the embedding as context of the cross-attention, unconditional is zeros. unCLIP (Ramesh et al. 2022, 2.1,
as Stable Diffusion does it) adds it to the timestep's embedding as a class label, unconditional again zeros.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from nodes.diffusion.devices import Precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.formats.variation_folders import VariationFacts, inspect_variation
from nodes.diffusion.handles.models import ImageVariationModel
from nodes.diffusion.models.parts import StableDiffusion, resident, stamps_of
from nodes.diffusion.pictures.clip_image_embeddings import load_image_embedder
from nodes.diffusion.text.encoding import TextEmbeddings, encode_prompts


class ImageVariation(StableDiffusion):
    """The parts of a base, from one folder or several, frozen; nobody may leave them changed."""

    def __init__(
        self,
        parts: Mapping[str, Path],
        device: torch.device,
        precision: Precision,
        *,
        facts: VariationFacts | None = None,
        weights: Path | None = None,
    ) -> None:
        self.parts = parts
        self.variation = facts or inspect_variation(parts)
        self.weights = weights
        super().__init__(parts["unet"].parent, device, precision, self.variation.model)

    @property
    def places(self) -> Iterable[Path]:
        return self.parts.values()

    def part(self, name: str) -> Path:
        return self.parts[name]

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        unet = super().unet
        if self.weights:
            put_weights(unet, load_file(self.weights))
        return unet

    @cached_property
    def embed(self) -> Callable[[Image.Image], Tensor]:
        """From an RGB picture to its embedding [d]."""
        return load_image_embedder(self.part("image_encoder"), self.part("feature_extractor"), self.device)

    @cached_property
    def image_normalizer(self) -> Any:
        """Mean and deviation of unCLIP's image embeddings."""
        return self._ready(StableUnCLIPImageNormalizer, "image_normalizer")

    @cached_property
    def image_noising_scheduler(self) -> Any:
        """The schedule by which unCLIP's image embeddings are noised."""
        return DDPMScheduler.from_config(read_config(self.part("image_noising_scheduler") / "scheduler_config.json"))

    @cached_property
    def empty_text(self) -> Tensor:
        """The context [tokens, d] that stands for no text."""
        with torch.no_grad():
            return encode_prompts(self, [""]).hidden[0]

    def conditions(self, image_embeds: Tensor, *, noise_level: int = 0, noise: Tensor | None = None) -> TextEmbeddings:
        """Return what the UNet is given for embeddings [n, k, d]: k tokens of context, or for unCLIP, where k is 1, a label.

        `noise` [n, d] is what unCLIP adds at `noise_level`; none is added without it.
        """
        if self.variation.conditioning == "image variation":
            return TextEmbeddings(image_embeds, None)
        label = self._class_labels(image_embeds[:, 0], noise_level, noise)
        return TextEmbeddings(self.empty_text.expand(len(label), -1, -1), None, class_labels=label.to(self.dtype))

    def _class_labels(self, image_embeds: Tensor, noise_level: int, noise: Tensor | None) -> Tensor:
        """The whitened embedding noised and put back, beside the sinusoidal embedding of the level: [n, 2 d]."""
        normalizer = self.image_normalizer
        levels = torch.full((len(image_embeds),), noise_level, device=image_embeds.device)
        whitened = (image_embeds - normalizer.mean) / normalizer.std
        noised = self.image_noising_scheduler.add_noise(whitened, torch.zeros_like(whitened) if noise is None else noise, levels)
        width = image_embeds.shape[-1]
        level = get_timestep_embedding(levels, width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([noised * normalizer.std + normalizer.mean, level], dim=1)


def with_unconditional(conditions: TextEmbeddings) -> TextEmbeddings:
    """Return n unconditional conditions before n given ones: zeros where the image embedding would be."""
    hidden, labels = conditions.hidden, conditions.class_labels
    if labels is None:
        return TextEmbeddings(torch.cat([torch.zeros_like(hidden), hidden]), None)
    return TextEmbeddings(torch.cat([hidden, hidden]), None, class_labels=torch.cat([torch.zeros_like(labels), labels]))


def put_weights(unet: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write weights over a UNet's own; raise InputError unless each has a place of its size."""
    own = dict(unet.named_parameters())
    given = {name.removeprefix("unet."): tensor for name, tensor in tensors.items()}
    wrong = [name for name, tensor in given.items() if name not in own or own[name].shape != tensor.shape]
    if wrong or not given:
        message = f"the weight {wrong[0]} has no place of its size in the UNet." if wrong else "the file holds no weights."
        raise InputError(message, field="model", remedy="Choose the base that the weights were trained from.")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def load_variation(
    model: ImageVariationModel, locate: Callable[[str], Path], *, device: torch.device, precision: Precision = "fp32"
) -> ImageVariation:
    """Return the base in memory, the same object for every node that asks for the same weights, device and precision."""
    parts = {name: locate(digest) / name for name, digest in model.parts}
    digests = [f"{name}={digest}" for name, digest in model.parts]
    identity = " ".join([*digests, model.weights.name if model.weights else "", stamps_of(parts.values())])
    found = resident((identity, str(device), precision), lambda: ImageVariation(parts, device, precision, weights=model.weights))
    assert isinstance(found, ImageVariation)
    found.parts, found.weights = parts, model.weights  # the same content may have moved
    return found
