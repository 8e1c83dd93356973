"""Measures of pictures: likeness to others and to a text, in CLIP's space and in pixels."""

import re
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from nodes.diffusion.pictures.pictures import psnr

EQUAL = 100.0
"""PSNR in dB of equal pictures, whose own is infinite."""
PLACEHOLDER = re.compile(r"<[^<>\s]*>")


def clip_i(images: Tensor, references: Tensor) -> float:
    """Return the mean cosine of all pairs of image embeddings [n, d] and [m, d] (Ruiz et al. 2023, section 4.2)."""
    return float((_unit(images) @ _unit(references).T).mean())


def clip_t(images: Tensor, texts: Tensor) -> float:
    """Return the mean cosine of each image embedding and its text's, both [n, d] (Hessel et al. 2021, unscaled)."""
    return float((_unit(images) * _unit(texts)).sum(dim=-1).mean())


def mean_psnr(images: Sequence[Image.Image], references: Sequence[Image.Image]) -> float:
    """Return the mean peak signal-to-noise ratio in dB of pairs of pictures; equal ones count as 100."""
    values = [min(psnr(image, reference), EQUAL) for image, reference in zip(images, references, strict=True)]
    return sum(values) / len(values)


def in_known_words(prompt: str, meanings: Mapping[str, str]) -> str:
    """Return a prompt with each placeholder replaced by what it means; one in angle brackets without a meaning is left out."""
    for placeholder in sorted(meanings, key=len, reverse=True):
        prompt = re.sub(rf"(?<![\w-]){re.escape(placeholder)}(?![\w-])", lambda _, p=placeholder: meanings[p], prompt)
    return " ".join(PLACEHOLDER.sub(" ", prompt).split())


def _unit(embeddings: Tensor) -> Tensor:
    return torch.nn.functional.normalize(embeddings.float(), dim=-1)
