"""The contrastive loss that trains a CLIP (Radford et al. 2021, figure 3)."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.loading import load_part
from nodes.diffusion.pictures.clip_image_embeddings import clip_pixels
from nodes.diffusion.pictures.pictures import as_picture
from nodes.diffusion.randomness import generator_for

FIRST_SCALE, LARGEST_SCALE = math.log(1 / 0.07), math.log(100)
"""Logarithms of the factor on similarities at first, and at most (ibid., 2.4 and 2.5)."""


class TrainedCLIP(nn.Module):
    """Copies of a model's text encoder and image encoder that can be trained, both with their projections."""

    def __init__(self, model: ActiveModel, earlier: Path | None) -> None:
        super().__init__()
        encoder = model.text_encoders[0]
        if not isinstance(encoder, CLIPTextModelWithProjection) or not model.parts.folder_of("image_encoder").is_dir():
            remedy = "Use a folder that has an image_encoder, and a text_encoder with projection."
            raise InputError("this model is no whole CLIP.", field="model", remedy=remedy)
        vision = load_part(
            CLIPVisionModelWithProjection,
            model.parts.folder_of("image_encoder"),
            model.device,
            initial_seed=model.parts.initial_seed,
        )
        self.text_encoder_0 = copy.deepcopy(encoder).float()
        self.image_encoder = copy.deepcopy(vision).float()
        self.logit_scale = nn.Parameter(torch.tensor(FIRST_SCALE, device=model.device))
        self.tokenizer: Any = model.tokenizers[0]
        self.processing = read_config(model.parts.folder_of("feature_extractor") / "preprocessor_config.json")
        if earlier:
            given = load_file(earlier)
            self.image_encoder.load_state_dict(
                {name.removeprefix("image_encoder."): t for name, t in given.items() if name.startswith("image_encoder.")}
            )
            projection = given["text_encoder_0.text_projection.weight"]
            self.text_encoder_0.text_projection.load_state_dict({"weight": projection})

    def named(self) -> dict[str, nn.Parameter]:
        """Return the parameters by the names that files use; the shell around the text encoder has none there."""
        return {name.replace("text_encoder_0.text_model.", "text_encoder_0."): p for name, p in self.named_parameters()}

    def similarities(self, pictures: Sequence[Tensor], captions: Sequence[str]) -> Tensor:
        """Return scaled cosines [pictures, captions] of pictures [3, h, w] in -1..1."""
        device = self.logit_scale.device
        pixels = torch.cat([clip_pixels(as_picture(picture), self.processing) for picture in pictures]).to(device)
        ids = self.tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt").input_ids.to(device)
        seen = self.image_encoder(pixel_values=pixels).image_embeds.float()
        said = self.text_encoder_0(input_ids=ids).text_embeds.float()
        scale = self.logit_scale.clamp(max=LARGEST_SCALE).exp()
        with torch.autocast(device.type, enabled=False):  # half precision cannot tell near captions apart
            return scale * nn.functional.normalize(seen, dim=-1) @ nn.functional.normalize(said, dim=-1).T


@dataclass
class CLIPTask:
    """Which caption belongs to which picture, of all in a batch."""

    clip: TrainedCLIP
    settings: TrainingSettings
    pictures: Sequence[Callable[[], Tensor]]
    """Each reads one picture [3, h, w] in -1..1."""
    captions: Sequence[tuple[str, ...]]
    training: Sequence[int]

    def loss(self, step: int, micro_step: int) -> Tensor:
        generator = generator_for(self.settings.seed, "pictures", step * self.settings.gradient_accumulation_steps + micro_step)
        order = torch.randperm(len(self.training), generator=generator)[: self.settings.batch_size].tolist()
        chosen = [self.training[number] for number in order]
        variants = torch.rand(len(chosen), generator=generator).tolist()
        captions = [self.captions[n][int(share * len(self.captions[n]))] for n, share in zip(chosen, variants, strict=True)]
        similarities = self.clip.similarities([self.pictures[n]() for n in chosen], captions)
        # the same words may stand under several pictures: each of these is then as right as the other
        same = torch.tensor([[float(a == b) for b in captions] for a in captions], device=similarities.device)
        wanted = same / same.sum(dim=1, keepdim=True)
        cross_entropy = nn.functional.cross_entropy
        return (cross_entropy(similarities, wanted) + cross_entropy(similarities.T, wanted)) / 2

    def recall(self, indices: Sequence[int]) -> float:
        """Return the share of pictures to which, of all their captions, their own is nearest."""
        captions = [self.captions[index][0] for index in indices]
        with torch.no_grad():
            nearest = self.clip.similarities([self.pictures[index]() for index in indices], captions).argmax(dim=1)
        return sum(captions[found] == own for found, own in zip(nearest.tolist(), captions, strict=True)) / len(captions)
