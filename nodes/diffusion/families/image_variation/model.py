"""Bases conditioned on a CLIP image embedding in memory, and what their UNets are given for one.

Image variations give the embedding as context of the cross-attention, unconditional is zeros. unCLIP (Ramesh et al. 2022, 2.1,
as Stable Diffusion does it) adds it to the timestep's embedding as a class label, unconditional again zeros.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from PIL import Image
from torch import Tensor

from nodes.diffusion.devices import Precision
from nodes.diffusion.families.image_variation.folders import inspect_variation
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.handles.models import DiffusionModel, ImageConditioning, ImageVariationModel
from nodes.diffusion.models.active import ActiveModel, held
from nodes.diffusion.models.loading import load_part
from nodes.diffusion.models.parts import ModelParts
from nodes.diffusion.pictures.clip_image_embeddings import image_embedder, load_image_encoder
from nodes.diffusion.text.conditions import Conditions, joined
from nodes.diffusion.text.encoding import encode_prompts


class ImageVariation:
    """A base in use, and what its UNet is given for an image embedding."""

    def __init__(self, model: ActiveModel, conditioning: ImageConditioning) -> None:
        self.model = model
        self.conditioning: ImageConditioning = conditioning

    @cached_property
    def embed(self) -> Callable[[Image.Image], Tensor]:
        """From an RGB picture to its embedding [d]."""
        parts, name = self.model.parts, "image_encoder"
        encoder = self.model.kept(name, lambda: load_image_encoder(parts.folder_of(name), parts.device))
        return image_embedder(encoder, parts.folder_of("feature_extractor"))

    @property
    def image_normalizer(self) -> StableUnCLIPImageNormalizer:
        """Mean and deviation of unCLIP's image embeddings."""
        parts, name = self.model.parts, "image_normalizer"
        return self.model.kept(name, lambda: load_part(StableUnCLIPImageNormalizer, parts.folder_of(name), parts.device))

    @cached_property
    def image_noising_scheduler(self) -> Any:
        """The schedule by which unCLIP's image embeddings are noised."""
        folder = self.model.parts.folder_of("image_noising_scheduler")
        return DDPMScheduler.from_config(read_config(folder / "scheduler_config.json"))

    @cached_property
    def empty_text(self) -> Tensor:
        """The context [tokens, d] that stands for no text."""
        with torch.no_grad():
            return encode_prompts(self.model, [""])["hidden"][0]

    def conditions(self, image_embeds: Tensor, *, noise_level: int = 0, noise: Tensor | None = None) -> Conditions:
        """Return what the UNet is given for embeddings [n, k, d]: k tokens of context, or for unCLIP, where k is 1, a label.

        `noise` [n, d] is what unCLIP adds at `noise_level`; none is added without it.
        """
        if self.conditioning == "image variation":
            return Conditions({"hidden": image_embeds})
        label = self._class_labels(image_embeds[:, 0], noise_level, noise)
        return Conditions({"hidden": self.empty_text.expand(len(label), -1, -1), "class_labels": label.to(self.model.dtype)})

    def _class_labels(self, image_embeds: Tensor, noise_level: int, noise: Tensor | None) -> Tensor:
        """The whitened embedding noised and put back, beside the sinusoidal embedding of the level: [n, 2 d]."""
        normalizer = self.image_normalizer
        levels = torch.full((len(image_embeds),), noise_level, device=image_embeds.device)
        whitened = (image_embeds - normalizer.mean) / normalizer.std
        noised = self.image_noising_scheduler.add_noise(whitened, torch.zeros_like(whitened) if noise is None else noise, levels)
        width = image_embeds.shape[-1]
        level = get_timestep_embedding(levels, width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([noised * normalizer.std + normalizer.mean, level], dim=1)


def with_unconditional(conditions: Conditions) -> Conditions:
    """Return n unconditional conditions before n given ones: zeros where the image embedding would be."""
    labels = conditions.get("class_labels")
    unconditional = conditions.zeros() if labels is None else conditions.replaced(class_labels=torch.zeros_like(labels))
    return joined([unconditional, conditions])


@contextmanager
def variation_in_use(
    handle: ImageVariationModel, locate: Callable[[str], Path], *, device: torch.device, precision: Precision = "fp32"
) -> Generator[ImageVariation]:
    """Give a base for one `with` block; its parts are shared with every node that uses the same weights."""
    folders = {name: locate(digest) / name for name, digest in handle.parts}
    facts = inspect_variation(folders)
    digest = " ".join(f"{name}={digest}" for name, digest in handle.parts)
    parts = ModelParts(
        folders["unet"].parent,
        device,
        precision,
        facts.model,
        digest=digest,
        elsewhere=folders,
        unet_weights=handle.weights,
    )
    base = DiffusionModel(
        digest=digest,
        name=handle.name,
        family=facts.model.family,
        prediction_type=facts.model.prediction_type,
        resolution=facts.model.resolution,
        zero_terminal_snr=handle.zero_terminal_snr,
    )
    with held(ActiveModel(base, parts)) as model:
        yield ImageVariation(model, facts.conditioning)
