"""Folders of bases conditioned on a CLIP image embedding, read from their JSON files and weight headers; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Count
from nodes.diffusion.families.stable_diffusion.facts import SD1, SD2
from nodes.diffusion.families.stable_diffusion.facts.folders import SchedulerConfig, UNetConfig, VAEConfig
from nodes.diffusion.formats.model_folders import check_weights, read_as
from nodes.diffusion.handles.models import ImageConditioning, ModelInfo

VARIATION_PARTS = ("unet", "vae", "image_encoder", "feature_extractor", "scheduler")
UNCLIP_PARTS = ("image_normalizer", "image_noising_scheduler", "tokenizer", "text_encoder")
WITHOUT_WEIGHTS = ("scheduler", "feature_extractor", "image_noising_scheduler", "tokenizer")
LAYOUT = f"It needs the folders {', '.join(VARIATION_PARTS)}; an unCLIP model also {', '.join(UNCLIP_PARTS)}."


class _UNet(UNetConfig):
    cross_attention_dim: int = 1280
    projection_class_embeddings_input_dim: Count | None = None
    addition_embed_type: str | None = None


class _ImageEncoder(BaseModel):
    projection_dim: Count = 512


@dataclass(frozen=True)
class VariationFacts:
    """How a base is conditioned on an image embedding of which width, and what every model says of itself."""

    conditioning: ImageConditioning
    embedding_width: int
    model: ModelInfo


def inspect_variation(parts: Mapping[str, Path]) -> VariationFacts:
    """Return the facts of a base from where its parts lie; raise InputError when one is missing or they do not fit together."""
    _check_parts(parts, VARIATION_PARTS)
    unet = read_as(parts["unet"] / "config.json", _UNet)
    vae = read_as(parts["vae"] / "config.json", VAEConfig)
    width = projection_width(parts["image_encoder"])
    unclip = unet.class_embed_type == "projection"
    if unclip:
        _check_parts(parts, UNCLIP_PARTS)
    taken = (unet.projection_class_embeddings_input_dim or 0) // 2 if unclip else unet.cross_attention_dim
    if taken != width:
        message = f"the UNet takes image embeddings of width {taken}, and the image encoder gives {width}."
        raise InputError(message, field="model", remedy="Use the CLIP image encoder that the UNet was trained with.")
    if unet.in_channels != vae.latent_channels or unet.addition_embed_type:
        remedy = "Use an image variation or unCLIP model in the Stable Diffusion layout."
        raise InputError("this UNet needs more than an image embedding.", field="model", remedy=remedy)
    facts = ModelInfo(
        family=(SD2 if unet.use_linear_projection else SD1).name,
        prediction_type=read_as(parts["scheduler"] / "scheduler_config.json", SchedulerConfig).predicts(),
        resolution=unet.side * vae.factor,
        text_parts=("tokenizer", "text_encoder") if unclip else (),
        max_clip_skip=0,
        zero_terminal_snr=False,
    )
    return VariationFacts("unclip" if unclip else "image variation", width, facts)


def projection_width(image_encoder: Path) -> int:
    """Return the width of the embeddings that a CLIP image encoder projects to."""
    return read_as(image_encoder / "config.json", _ImageEncoder).projection_dim


def context_width(unet: Path) -> int:
    """Return the width of the context that a UNet's cross-attention takes."""
    return read_as(unet / "config.json", _UNet).cross_attention_dim


def _check_parts(parts: Mapping[str, Path], wanted: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in parts:
            raise InputError(f"this model has no folder {name!r}.", field="model", remedy=LAYOUT)
        if name not in WITHOUT_WEIGHTS:
            check_weights(parts[name])
