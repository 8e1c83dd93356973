"""What travels on wires: small frozen descriptions. Tensors and pictures lie in files; importing this needs no torch.

A `Path` in a value always names a file in the cache. Something outside the cache (a picture, a model folder) is named by
the digest of its content, so that a value means the same on every machine.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nodes.diffusion.adapters import Adapter

Family = Literal["sd1", "sd2", "sdxl"]
PredictionType = Literal["epsilon", "v_prediction"]
ImageConditioning = Literal["image variation", "unclip"]
"""How a CLIP image embedding reaches the UNet: as context of the cross-attention, or added to the timestep's embedding."""


@dataclass(frozen=True)
class DiffusionModel:
    """A handle: which weights, of which family, and the adapters laid over them."""

    digest: str
    """Identity of the content of a folder or of a single file; the run knows where it lies."""
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
    max_token_length: int = 75
    """Tokens that a text may have: 75 for each chunk that goes through the text encoder."""
    zero_terminal_snr: bool = False
    """Whether it was trained with no signal left at the last timestep, so that sampling must begin there too."""
    initial_seed: int | None = None
    """When set, the folder only describes the parts: their weights are drawn at random from this seed."""
    moving_average: bool = False
    """Whether the moving average that a single file holds beside its UNet is used in its place."""
    adapters: tuple[Adapter, ...] = ()
    """What is laid over the weights, in order."""


@dataclass(frozen=True)
class View:
    """How a picture is shown to the model: resized, then cropped to `size`, then perhaps mirrored; all in pixels (w, h)."""

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
    """Path below the dataset's folder, with forward slashes: unique within the dataset."""
    width: int
    height: int
    """Size in pixels after EXIF rotation."""
    views: tuple[View, ...]
    text: str | None = None
    """Caption that came with the picture (sidecar or metadata.jsonl), untouched."""
    repeats: int = 1
    file: Path | None = None
    """Where it lies in the cache, when the graph itself drew it."""


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
    emphasis: Literal["none", "kohya"] = "none"
    """What brackets in the captions mean: letters, or weights."""


@dataclass(frozen=True)
class LatentView:
    """Latent distribution of one view: a safetensors file with `mean` and `std`, each [channels, h, w], already scaled."""

    file: Path
    original_size: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    """Pixels (w, h); together with the two above this is SDXL's micro-conditioning."""
    valid: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the picture where it does not fill the view; a masked loss looks at nothing else."""


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
    """What brackets in the captions mean."""


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """A picture's way to noise (Song et al. 2021), and all that a replay needs to know of how it was made."""

    file: Path
    """Safetensors: `latent` [1, c, h, w], the noise, and `ddim_latents` [T + 1, c, h, w], from the picture to it."""
    picture: Path | None
    """The picture as it was shown to the model (PNG)."""
    prompt: str
    num_inference_steps: int
    size: tuple[int, int]
    """Pixels (w, h)."""
    model_digest: str
    conditions: str
    """What else of the model it depends on: `inversion_conditions`."""
    zero_terminal_snr: bool
    prediction_type: PredictionType
    scheduler: str
    """The model's scheduler settings, as JSON."""


@dataclass(frozen=True, kw_only=True)
class NullTextInversion(Inversion):
    """An inversion with unconditional embeddings that lead guided sampling back to the picture (Mokady et al. 2023)."""

    uncond: Path
    """Safetensors: `uncond` [T, tokens, d], the noisiest timestep's first."""
    guidance_scale: float


@dataclass(frozen=True, kw_only=True)
class ImageVariationModel:
    """A handle on a base that is conditioned on a CLIP image embedding."""

    name: str
    conditioning: ImageConditioning
    prediction_type: PredictionType
    resolution: int
    """Native picture side in pixels."""
    embedding_width: int
    """Width d of the image embedding."""
    parts: tuple[tuple[str, str], ...]
    """Each part, such as `unet`, and the digest of the folder that it is in."""
    clip_digest: str
    """Identity of the image encoder and of how pictures are prepared for it."""
    vae_digest: str
    weights: Path | None = None
    """UNet weights that take the place of those in the folder: safetensors, with or without `unet.` before the names."""
    zero_terminal_snr: bool = False
    """Whether it was trained with no signal left at the last timestep."""


@dataclass(frozen=True, kw_only=True)
class ImageEmbedding:
    """CLIP image embeddings, not normalized: what a base conditioned on one is given in place of a picture's."""

    file: Path
    """Safetensors: `image_embeds` [vectors, width], float32."""
    vectors: int
    width: int
    label: str
    """What grids call it, such as `mean`."""


@dataclass(frozen=True)
class AestheticEmbedding:
    """A look: the mean of pictures' CLIP image embeddings."""

    file: Path
    """Safetensors: `aesthetic_embedding` [1, width], float32, not normalized."""
    width: int


@dataclass(frozen=True)
class ScoreRow:
    """What was measured of one model or one row of pictures, as (name, value)."""

    label: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Scores:
    """Measurements, a row for each model."""

    rows: tuple[ScoreRow, ...]


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
    """Return what a text embedding depends on besides the text: encoders, layers dropped, length, adapters that change text."""
    parts = [model.text_digest, str(model.clip_skip), str(model.max_token_length)]
    parts += [identity for adapter in model.adapters if (identity := adapter.text_identity())]
    return "/".join(parts)


def inversion_conditions(model: DiffusionModel) -> str:
    """Return what a picture's inversion depends on besides the file: its weights, layers dropped, length of text, adapters."""
    laid = [asdict(adapter) for adapter in model.adapters]
    average = ["moving average"] if model.moving_average else []
    longer = [model.max_token_length] if model.max_token_length > 75 else []  # files of before it was there keep theirs
    text = json.dumps([model.clip_skip, laid, *average, *longer], default=lambda path: path.name)
    return hashlib.sha256(text.encode()).hexdigest()
