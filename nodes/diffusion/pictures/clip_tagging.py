"""Zero-shot tags: the words whose CLIP text feature is nearest to a picture's image feature (Radford et al. 2021, 3.1)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from nodes.diffusion.models.loading import load_part
from nodes.diffusion.pictures.clip_image_embeddings import load_image_embedder

TEMPLATES = ("flat style {}", "3d style {}", "line style {}", "noto style {}")
"""A word counts as near as the nearest of these: averaged over styles, a word fits no style well."""


def load_tagger(folder: Path, words: list[str], device: torch.device) -> Callable[[Image.Image, int], list[str]]:
    """Return a function from a picture and a count to that many of the words, the likeliest first."""
    embed = load_image_embedder(folder / "image_encoder", folder / "feature_extractor", device)
    features = _word_features(folder, words, device)

    def tag(picture: Image.Image, count: int) -> list[str]:
        nearest = (features @ embed(picture)).amax(dim=0).topk(min(count, len(words))).indices
        return [words[index] for index in nearest.tolist()]

    return tag


def _word_features(folder: Path, words: list[str], device: torch.device) -> Tensor:
    """Return unit features [templates, words, d]."""
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
