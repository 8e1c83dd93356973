"""How Z-Image is recognised, named and published; needs no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nodes.diffusion.families.flow_refusals import flow_refusals
from nodes.diffusion.families.protocol import Count, ModelFolder, Part, TensorFile
from nodes.diffusion.families.tensor_names.autoencoder_kl import AutoencoderKLNames, vae_blocks
from nodes.diffusion.families.tensor_names.by_part import NamesByPart, SameNames
from nodes.diffusion.families.tensor_names.renaming import Renamed, RenamedLayers, fused
from nodes.diffusion.families.transformer_facts import Stack, TransformerFamily, check_text_width
from nodes.diffusion.families.vocabularies.qwen_files import tokenizer_files
from nodes.diffusion.handles.models import ModelInfo, PredictionType

LAYERS = 30
"""Blocks of the published transformer, beside those of its refiners."""
TEXT_WIDTH = 2560
"""Width of the states of Qwen3-4B."""
PREFIXES = {
    "transformer": ("model.diffusion_model.", "diffusion_model.", ""),
    "vae": ("vae.", "first_stage_model.", ""),
    "text_encoder": ("text_encoders.qwen3_4b.transformer.model.", "model.", ""),
}
STACKS = ("layers", "noise_refiner", "context_refiner")


def _attention(stack: str) -> tuple[Renamed, ...]:
    inside = f"{stack}.*.attention"
    return (
        *fused(inside, ("to_q", "to_k", "to_v"), f"{inside}.qkv"),
        Renamed(f"{inside}.to_out.0", f"{inside}.out"),
        Renamed(f"{inside}.norm_q", f"{inside}.q_norm"),
        Renamed(f"{inside}.norm_k", f"{inside}.k_norm"),
    )


TRANSFORMER = RenamedLayers(
    (
        Renamed("all_x_embedder.2-1", "x_embedder"),
        Renamed("all_final_layer.2-1", "final_layer"),
        *(rule for stack in STACKS for rule in _attention(stack)),
    )
)
REFUSALS = flow_refusals("Z-Image", "Z-Image's text and picture share their keys and values.")


class _Transformer(BaseModel):
    """What is read of transformer/config.json."""

    cap_feat_dim: Count = TEXT_WIDTH
    in_channels: Count = 16


class _Scheduler(BaseModel):
    """What is read of scheduler/scheduler_config.json."""

    shift: float = 1.0


TURBO_SHIFT, BASE_SHIFT = 3.0, 6.0
"""The shifts that the distilled and the base model were published with."""


def names(known: Iterable[str]) -> NamesByPart:
    """Return the naming of a model that has these tensors."""
    parts = {"transformer": TRANSFORMER, "vae": AutoencoderKLNames(vae_blocks(known)), "text_encoder": SameNames()}
    return NamesByPart("transformer", PREFIXES, parts)


@dataclass(frozen=True, kw_only=True)
class ZImageFamily(TransformerFamily):
    """Z-Image and Z-Image Turbo."""

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        """Return what a folder says; raise InputError where the text encoder or the VAE is another model's."""
        check_text_width(folder, folder.read("transformer/config.json", _Transformer).cap_feat_dim)
        shift = folder.read("scheduler/scheduler_config.json", _Scheduler).shift
        return replace(super().inspect(folder), distilled=shift == TURBO_SHIFT)

    def vae_channels_of(self, folder: ModelFolder) -> int:
        """Return how many channels the transformer takes: small models may have fewer."""
        return folder.read("transformer/config.json", _Transformer).in_channels

    def architecture(self, config: Mapping[str, Any], predicts: PredictionType) -> str:
        published = config.get("dim", 3840) == 3840 and config.get("n_layers", LAYERS) == LAYERS
        return self.architecture_id if published else f"custom-{self.name}-{config['dim']}"

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        variant = "Turbo, as its name says" if _is_turbo(file) else "the base model, as its name does not say turbo"
        return "flow", f"all Z-Image models do. It is taken for {variant}"

    def configurations(self, file: TensorFile) -> dict[str, Any]:
        """Return the published configurations; a file does not say whether it is distilled, so its name does."""
        configs = super().configurations(file)
        configs["scheduler/scheduler_config.json"]["shift"] = TURBO_SHIFT if _is_turbo(file) else BASE_SHIFT
        return configs


def _is_turbo(file: TensorFile) -> bool:
    return "turbo" in file.path.stem.lower()


Z_IMAGE = ZImageFamily(
    name="z_image",
    title="Z-Image",
    parts=(
        Part("unet", "transformer", "denoiser", "diffusers", "ZImageTransformer2DModel"),
        Part("vae", "vae", "VAE", "diffusers", "AutoencoderKL"),
        Part("text_encoder_0", "text_encoder", "text encoder", "transformers", "Qwen3Model"),
        Part("tokenizer_0", "tokenizer", "tokenizer", "transformers", "Qwen2Tokenizer"),
        Part("scheduler", "scheduler", "scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"),
    ),
    pipeline="ZImagePipeline",
    latent_channels=16,
    vae_channels=16,
    max_text_tokens=512,
    stacks=(Stack("L", ("layers",), LAYERS),),
    architecture_id="Z-Image",
    kohya_version="zimage",
    marks_of_denoiser=("layers.0.adaLN_modulation.0.weight", "cap_embedder.1.weight"),
    input_layers=("x_embedder.weight", "all_x_embedder.2-1.weight"),
    prefixes={
        "unet": PREFIXES["transformer"][0],
        "vae": PREFIXES["vae"][0],
        "text_encoder": PREFIXES["text_encoder"][0],
    },
    published_file=Path(__file__).parent / "published.json",
    part_marks={
        "unet": ("cap_embedder.1.weight", 0, 3840),
        "vae": ("decoder.conv_in.weight", 1, 16),
        "text_encoder": ("embed_tokens.weight", 1, TEXT_WIDTH),
    },
    lora_endings={
        "attention": (".attention.to_q", ".attention.to_k", ".attention.to_v", ".attention.to_out.0"),
        "feed-forward": (".feed_forward.w1", ".feed_forward.w2", ".feed_forward.w3"),
    },
    lora_blocks="layers.",
    refusals=REFUSALS,
    names=names,
    tokenizer_files=tokenizer_files,
)
FAMILIES = (Z_IMAGE,)
