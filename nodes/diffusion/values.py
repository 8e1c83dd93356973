"""What travels on wires: small frozen descriptions. Tensors and pictures lie in files; importing this needs no torch.

A `Path` in a value always names a file in the cache. Something outside the cache (a picture, a model folder) is named by
the digest of its content, so that a value means the same on every machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nodes.diffusion.adapters import Adapter

Family = Literal["sd1", "sd2", "sdxl"]
PredictionType = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class DiffusionModel:
    """A handle: which weights, of which family, and the adapters laid over them."""

    digest: str
    """Identity of the folder's content; the run knows where that content lies."""
    name: str
    family: Family
    prediction_type: PredictionType
    resolution: int
    """Native picture side in pixels."""
    vae_digest: str = ""
    """Identity of the VAE alone: models that share it share latents."""
    text_digest: str = ""
    """Identity of tokenizers and text encoders alone."""
    clip_skip: int = 0
    """Layers dropped from the end of the text encoder."""
    zero_terminal_snr: bool = False
    """Whether it was trained with no signal left at the last timestep, so that sampling must begin there too."""
    adapters: tuple[Adapter, ...] = ()
    """What is laid over the weights, in order."""


@dataclass(frozen=True)
class View:
    """How a picture is shown to the model: resized, then cropped to `size`, then perhaps mirrored; all in pixels (w, h)."""

    resized: tuple[int, int]
    crop: tuple[int, int]
    """Left and top of the crop in the resized picture."""
    size: tuple[int, int]
    flipped: bool = False


@dataclass(frozen=True)
class Picture:
    """One picture of a dataset, named by its content."""

    digest: str
    name: str
    """Path below the dataset's folder, with forward slashes: unique within the dataset."""
    width: int
    height: int
    """Size in pixels after EXIF rotation."""
    views: tuple[View, ...]
    text: str | None = None
    """Caption that came with the picture (sidecar or metadata.jsonl), untouched."""
    repeats: int = 1


@dataclass(frozen=True)
class ImageDataset:
    """Pictures and how each is to be shown; `background` is the colour (r, g, b) behind transparent pixels."""

    pictures: tuple[Picture, ...]
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True)
class CaptionedDataset(ImageDataset):
    """Pictures with captions: `captions[i]` holds the variants of `pictures[i]`'s caption, at least one."""

    captions: tuple[tuple[str, ...], ...] = ()
    caption_dropout: float = 0.0
    """Share of draws that train on the empty caption instead."""


@dataclass(frozen=True)
class LatentView:
    """Latent distribution of one view: a safetensors file with `mean` and `std`, each [channels, h, w], already scaled."""

    file: Path
    original_size: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    """Pixels (w, h); together with the two above this is SDXL's micro-conditioning."""


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


@dataclass(frozen=True)
class GeneratedImage:
    """One drawn picture (PNG) and what drew it."""

    file: Path
    label: str
    """The model's name with its adapters: the row it belongs to in a grid."""
    prompt: str
    seed: int


@dataclass(frozen=True)
class ImageSet:
    """Pictures in rows of `columns`."""

    images: tuple[GeneratedImage, ...]
    columns: int


def text_identity(model: DiffusionModel) -> str:
    """Return what a text embedding depends on besides the text: encoders, layers dropped, adapters that change text."""
    parts = [model.text_digest, str(model.clip_skip)]
    parts += [identity for adapter in model.adapters if (identity := adapter.text_identity())]
    return "/".join(parts)
