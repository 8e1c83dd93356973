"""Results other than models: inversions, embeddings of pictures, scores, sampled pictures."""

from dataclasses import dataclass
from pathlib import Path

from nodes.diffusion.handles.models import PredictionType


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """A picture's DDIM trajectory to noise (Song et al. 2021), with the settings for sampling it back."""

    file: Path
    """Safetensors: `latent` [1, c, h, w], the noise, and `ddim_latents` [T + 1, c, h, w], from the picture to it."""
    picture: Path | None
    """The picture as cropped for the model (PNG)."""
    prompt: str
    num_inference_steps: int
    size: tuple[int, int]
    """Pixels (w, h)."""
    model_digest: str
    conditions: str
    """The identity of the model's other settings: `inversion_conditions`."""
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
class ImageEmbedding:
    """CLIP image embeddings, not normalized, for a base that is conditioned on one."""

    file: Path
    """Safetensors: `image_embeds` [vectors, width], float32."""
    vectors: int
    width: int
    label: str
    """The label in grids, such as `mean`."""


@dataclass(frozen=True)
class AestheticEmbedding:
    """An aesthetic: the mean of pictures' CLIP image embeddings."""

    file: Path
    """Safetensors: `aesthetic_embedding` [1, width], float32, not normalized."""
    width: int


@dataclass(frozen=True)
class ScoreRow:
    """Measurements of one model or one row of pictures, as (name, value)."""

    label: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Scores:
    """Measurements, a row for each model."""

    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class GeneratedImage:
    """One sampled picture (PNG), with the model, prompt and seed."""

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
