"""Handles on models: which weights, of which family, and the adapters applied to them; importing this needs no torch.

A `Path` in a handle always names a file in the cache. Something outside the cache (a model folder) is named by the digest of
its content, so that a handle means the same on every machine.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from nodes.diffusion.handles.adapters import Adapter

Family: TypeAlias = str
"""The name of a family, as `families.registry` knows it."""
PredictionType = Literal["epsilon", "v_prediction", "flow"]
"""Noise (Ho et al. 2020), velocity (Salimans and Ho 2022), or the velocity of a rectified flow (Liu et al. 2023)."""
Purpose = Literal["text-to-image", "inpainting", "instruct-pix2pix"]
"""The UNet's inputs beside noisy latents: none, a mask and the masked picture, or the picture to edit."""
ImageConditioning = Literal["image variation", "unclip"]
"""The UNet's input for a CLIP image embedding: context of the cross-attention, or added to the timestep's embedding."""


@dataclass(frozen=True)
class ModelInfo:
    """The facts in a model's descriptions; no weights are read for them."""

    family: Family
    prediction_type: PredictionType
    resolution: int
    """Native picture side in pixels."""
    text_parts: tuple[str, ...]
    """Folders of tokenizers and text encoders, in order of use."""
    max_clip_skip: int
    """The largest number of layers that can be dropped from every text encoder."""
    zero_terminal_snr: bool
    """True if it was trained with no signal left at the last timestep."""
    purpose: Purpose = "text-to-image"
    distilled: bool = False
    """True if it was distilled for few steps without guidance, which further training undoes."""


@dataclass(frozen=True)
class DiffusionModel:
    """A handle: which weights, of which family, and the adapters that are applied to them."""

    digest: str
    """Identity of the content of a folder or of a single file; the run knows its path."""
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
    """True if it was trained with no signal left at the last timestep, so that sampling must begin there too."""
    initial_seed: int | None = None
    """The seed of random initial weights, for a folder without weights; None otherwise."""
    moving_average: bool = False
    """True if the moving average in a single file replaces its UNet's weights."""
    adapters: tuple[Adapter, ...] = ()
    """Adapters that are applied to the weights, in order."""
    files: tuple[tuple[str, str], ...] = ()
    """Parts that are files of their own, by folder, such as `vae`, and the digest of each file's content."""
    info: ModelInfo | None = field(default=None, compare=False)
    """The facts that LoadModel read; None in handles cached by earlier versions: see `info_of`."""


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
    """True if it was trained with no signal left at the last timestep."""


def identifying_fields(model: DiffusionModel) -> dict[str, Any]:
    """Return the fields of a handle that identify the model, for keys: `info` is left out."""
    return {name: value for name, value in asdict(model).items() if name != "info" and (name != "files" or value)}


def text_identity(model: DiffusionModel) -> str:
    """Return the identity of a text embedding besides the text: encoders, layers dropped, length, adapters that change text."""
    parts = [model.text_digest, str(model.clip_skip), str(model.max_token_length)]
    parts += [identity for adapter in model.adapters if (identity := adapter.text_identity())]
    return "/".join(parts)


def inversion_conditions(model: DiffusionModel) -> str:
    """Return the identity of an inversion's model besides its file: weights, layers dropped, length of text, adapters."""
    adapters = [asdict(adapter) for adapter in model.adapters]
    average = ["moving average"] if model.moving_average else []
    longer = [model.max_token_length] if model.max_token_length > 75 else []  # older files keep their hash
    text = json.dumps([model.clip_skip, adapters, *average, *longer], default=lambda path: path.name)
    return hashlib.sha256(text.encode()).hexdigest()
