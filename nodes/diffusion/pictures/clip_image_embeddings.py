"""Pictures to CLIP image embeddings (Radford et al. 2021, 2.3)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.models.loading import load_part
from nodes.diffusion.pictures.pictures import as_tensor


def load_image_embedder(encoder: Path, feature_extractor: Path, device: torch.device) -> Callable[[Image.Image], Tensor]:
    """Return the function from an RGB picture to its embedding, with the encoder and the processing of two folders."""
    return image_embedder(load_image_encoder(encoder, device), feature_extractor)


def load_image_encoder(folder: Path, device: torch.device) -> CLIPVisionModelWithProjection:
    """Return a CLIP image encoder in float32; raise InputError when its weights do not fit its configuration."""
    return load_part(CLIPVisionModelWithProjection, folder, device, dtype=torch.float32)


def image_embedder(vision: CLIPVisionModelWithProjection, feature_extractor: Path) -> Callable[[Image.Image], Tensor]:
    """Return a function from an RGB picture to its projected embedding [d], not normalized.

    One picture at a time: an embedding then does not depend on which others are there.
    """
    processing = read_config(feature_extractor / "preprocessor_config.json")

    def embed(picture: Image.Image) -> Tensor:
        with torch.no_grad():
            return vision(pixel_values=clip_pixels(picture, processing).to(vision.device)).image_embeds[0]

    return embed


def clip_pixels(picture: Image.Image, processing: dict[str, Any]) -> Tensor:
    """Return the picture as CLIP was trained on it: short side resized, center cropped, normalized; [1, 3, s, s]."""
    crop = processing["crop_size"]
    side: int = crop["height"] if isinstance(crop, dict) else crop  # older folders give the number alone
    scale = side / min(picture.size)
    resized = picture.resize(
        (max(side, round(picture.width * scale)), max(side, round(picture.height * scale))), Image.Resampling.BICUBIC
    )
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    tensor = (as_tensor(resized.crop((left, top, left + side, top + side))) + 1) / 2
    mean, std = (torch.tensor(processing[name]).reshape(3, 1, 1) for name in ("image_mean", "image_std"))
    return ((tensor - mean) / std)[None]
