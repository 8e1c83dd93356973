"""Zero-shot tags: the words whose CLIP text feature lies nearest to a picture's image feature (Radford et al. 2021, 3.1)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from nodes.diffusion.folders import read_config
from nodes.diffusion.loading import load_part
from nodes.diffusion.pictures import as_tensor

TEMPLATES = ("flat style {}", "3d style {}", "line art style {}", "glossy style {}")
"""A word counts as near as the nearest of these: averaged over styles, a word fits no style well."""


def load_tagger(folder: Path, words: list[str], device: torch.device) -> Callable[[Image.Image, int], list[str]]:
    """Return a function from a picture and a count to that many of the words, the likeliest first."""
    vision = load_part(CLIPVisionModelWithProjection, folder / "image_encoder", device)
    processing = read_config(folder / "feature_extractor" / "preprocessor_config.json")
    features = _word_features(folder, words, device)

    def tag(picture: Image.Image, count: int) -> list[str]:
        with torch.no_grad():
            image = vision(pixel_values=_pixels(picture, processing).to(device)).image_embeds[0]
        nearest = (features @ image).amax(dim=0).topk(min(count, len(words))).indices
        return [words[index] for index in nearest.tolist()]

    return tag


def _word_features(folder: Path, words: list[str], device: torch.device) -> Tensor:
    """Unit features [templates, words, d]."""
    tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = load_part(CLIPTextModelWithProjection, folder / "text_encoder", device)
    found: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(words), 64):
            texts = [template.replace("{}", word) for template in TEMPLATES for word in words[start : start + 64]]
            ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
            features = torch.nn.functional.normalize(encoder(ids.to(device)).text_embeds, dim=-1)
            found.append(features.reshape(len(TEMPLATES), -1, features.shape[-1]))
    return torch.cat(found, dim=1)


def _pixels(picture: Image.Image, processing: dict[str, Any]) -> Tensor:
    """The picture as CLIP was trained on it: short side resized, center cropped, normalized; [1, 3, s, s]."""
    side = processing["crop_size"]["height"]
    scale = side / min(picture.size)
    resized = picture.resize(
        (max(side, round(picture.width * scale)), max(side, round(picture.height * scale))), Image.Resampling.BICUBIC
    )
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    tensor = (as_tensor(resized.crop((left, top, left + side, top + side))) + 1) / 2
    mean, std = (torch.tensor(processing[name]).reshape(3, 1, 1) for name in ("image_mean", "image_std"))
    return ((tensor - mean) / std)[None]
