"""Datasets as they travel on wires: pictures, captions, latents and text embeddings, whose bulk is in files of the cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class View:
    """The transformation of a picture for the model: resized, then cropped to `size`, perhaps mirrored; in pixels (w, h)."""

    resized: tuple[int, int]
    crop: tuple[int, int]
    """Left and top of the crop in the resized picture; below zero where the picture is smaller than `size`."""
    size: tuple[int, int]
    flipped: bool = False


@dataclass(frozen=True)
class Picture:
    """One picture of a dataset, named by its content."""

    digest: str
    name: str
    """The path below the dataset's folder, with forward slashes: unique within the dataset."""
    width: int
    height: int
    """Size in pixels after EXIF rotation."""
    views: tuple[View, ...]
    text: str | None = None
    """Caption that came with the picture (sidecar or metadata.jsonl), untouched."""
    repeats: int = 1
    file: Path | None = None
    """Its file in the cache, when the graph itself sampled it."""


@dataclass(frozen=True)
class ImageDataset:
    """Pictures and their views; `background` is the colour (r, g, b) behind transparent pixels."""

    pictures: tuple[Picture, ...]
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True)
class CaptionedDataset(ImageDataset):
    """Pictures with captions: `captions[i]` holds the variants of `pictures[i]`'s caption, at least one."""

    captions: tuple[tuple[str, ...], ...] = ()
    caption_dropout: float = 0.0
    """Share of samples that train on the empty caption instead."""
    emphasis: Literal["none", "kohya"] = "none"
    """The meaning of brackets in captions: letters, or kohya's weights."""


@dataclass(frozen=True)
class LatentView:
    """Latent distribution of one view: a safetensors file with `mean` and `std`, each [channels, h, w], already scaled."""

    file: Path
    original_size: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    """Pixels (w, h); with the two fields above it makes SDXL's micro-conditioning."""
    valid: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the picture where it does not fill the view; a masked loss covers only this."""


@dataclass(frozen=True)
class LatentItem:
    """All views of one picture in latent space."""

    name: str
    views: tuple[LatentView, ...]
    repeats: int = 1


@dataclass(frozen=True)
class LatentDataset:
    """Latents of a dataset; `vae_digest` says which model's VAE made them."""

    items: tuple[LatentItem, ...]
    vae_digest: str


@dataclass(frozen=True)
class CaptionItem:
    """Text embeddings of one picture's caption variants: safetensors with `hidden` [tokens, d] and, for SDXL, `pooled` [d]."""

    name: str
    captions: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class EmbeddingDataset:
    """Text embeddings of a dataset's captions, and of the empty caption for dropout."""

    items: tuple[CaptionItem, ...]
    empty: Path
    caption_dropout: float
    text_digest: str
    """Identity of the model and of every adapter on its text encoders at the time of encoding."""
    emphasis: Literal["none", "kohya"] = "none"
    """The meaning of brackets in captions."""
