"""How FLUX.2 klein is recognised, named and published, in both of its sizes; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.flow_refusals import flow_refusals
from nodes.diffusion.families.flux2_klein.tensor_names import PREFIXES, names
from nodes.diffusion.families.protocol import Count, ModelFolder, Part, Shape, TensorFile
from nodes.diffusion.families.transformer_facts import Stack, TransformerFamily, check_text_width
from nodes.diffusion.families.vocabularies.qwen_files import tokenizer_files
from nodes.diffusion.handles.models import ModelInfo, PredictionType

MODULATIONS = ("single_stream_modulation.lin.weight", "single_stream_modulation.linear.weight")
"""The tensor that only FLUX.2 has, in files and in folders; its inputs are the transformer's width."""
GUIDANCE = ("guidance_in.in_layer.weight", "guidance_embedder.linear_1.weight")
"""The tensor of FLUX.2 dev that klein lacks."""
TEXT_LAYERS = 3
"""Hidden states of the language model that lie side by side in an embedding."""
SMALL, LARGE = 3072, 4096
"""Widths of the published transformers."""


class _Transformer(BaseModel):
    """What is read of transformer/config.json."""

    class_name: Annotated[str, Field(alias="_class_name")] = ""
    num_attention_heads: Count = 48
    attention_head_dim: Count = 128
    joint_attention_dim: Count = 15360
    guidance_embeds: bool = True

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim


class _Index(BaseModel):
    """What is read of model_index.json."""

    is_distilled: bool = False


@dataclass(frozen=True, kw_only=True)
class Flux2KleinFamily(TransformerFamily):
    """One size of FLUX.2 klein, base and distilled."""

    width: int
    """Of the published transformer."""

    def is_folder(self, folder: ModelFolder) -> bool:
        config = folder.read("transformer/config.json", _Transformer)
        return config.class_name == self.denoiser.cls and self._is_mine(config.width)

    def _is_mine(self, width: int) -> bool:
        """Return whether a transformer of this width is of this size; what is not published counts as the small one."""
        return (width == LARGE) == (self.width == LARGE)

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        """Return what a folder says; raise InputError where it is FLUX.2 dev, or a part is another model's."""
        config = folder.read("transformer/config.json", _Transformer)
        if config.guidance_embeds:
            message = f"{folder.name} is FLUX.2 dev or another model that takes guidance as a number."
            raise InputError(message, field="model", remedy="Use a folder of FLUX.2 klein.")
        check_text_width(folder, config.joint_attention_dim, TEXT_LAYERS)
        return replace(super().inspect(folder), distilled=folder.read("model_index.json", _Index).is_distilled)

    def is_denoiser(self, shapes: Mapping[str, Shape]) -> bool:
        width = next((shape[1] for name, shape in shapes.items() if name.endswith(MODULATIONS)), 0)
        return bool(width) and self._is_mine(width) and not any(name.endswith(GUIDANCE) for name in shapes)

    def architecture(self, config: Mapping[str, Any], predicts: PredictionType) -> str:
        width = config["num_attention_heads"] * config["attention_head_dim"]
        published = width == self.width and config["num_layers"] == self.stacks[0].count
        return self.architecture_id if published else f"custom-{self.name}-{width}"

    def architecture_by_input(self, width: int, channels: int) -> str:
        return self.architecture_id if width == self.width else ""

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        variant = (
            "the distilled model, as its name does not say base" if _is_distilled(file) else "the base model, as its name says"
        )
        return "flow", f"all FLUX.2 models do. It is taken for {variant}"

    def configurations(self, file: TensorFile) -> dict[str, Any]:
        """Return the published configurations; a file does not say whether it is distilled, so its name does."""
        configs = super().configurations(file)
        own = self.prefixes["text_encoder"]
        if any(name.startswith(own) for name in file.shapes):
            self.check_part("text_encoder", file)
        configs["model_index.json"]["is_distilled"] = _is_distilled(file)
        return configs


def _is_distilled(file: TensorFile) -> bool:
    return "base" not in file.path.stem.lower()


def _klein(size: str, width: int, doubles: int, singles: int, text_width: int, language_model: str) -> Flux2KleinFamily:
    title = f"FLUX.2 klein {size}"
    return Flux2KleinFamily(
        name=f"flux2_klein_{size.lower()}",
        title=title,
        width=width,
        parts=(
            Part("unet", "transformer", "denoiser", "diffusers", "Flux2Transformer2DModel"),
            Part("vae", "vae", "VAE", "diffusers", "AutoencoderKLFlux2"),
            Part("text_encoder_0", "text_encoder", "text encoder", "transformers", "Qwen3Model"),
            Part("tokenizer_0", "tokenizer", "tokenizer", "transformers", "Qwen2Tokenizer"),
            Part("scheduler", "scheduler", "scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"),
        ),
        pipeline="Flux2KleinPipeline",
        latent_channels=128,
        vae_channels=32,
        samples_latents=False,
        max_text_tokens=512,
        stacks=(
            Stack("D", ("double_blocks", "transformer_blocks"), doubles),
            Stack("S", ("single_blocks", "single_transformer_blocks"), singles),
        ),
        architecture_id=f"Flux.2-klein-{size.lower()}",
        kohya_version=f"flux2_klein_{size.lower()}",
        marks_of_denoiser=MODULATIONS,
        input_layers=("img_in.weight", "transformer.x_embedder.weight"),
        prefixes={"unet": PREFIXES["transformer"][0], "vae": PREFIXES["vae"][0], "text_encoder": "text_encoders."},
        published_file=Path(__file__).parent / "published" / f"{size.lower()}.json",
        part_marks={
            "unet": (MODULATIONS, 1, width),
            "vae": ("decoder.conv_in.weight", 1, 32),
            "text_encoder": ("embed_tokens.weight", 1, text_width),
        },
        lora_endings={
            "attention": (
                ".attn.to_q", ".attn.to_k", ".attn.to_v", ".attn.to_out.0", ".attn.add_q_proj", ".attn.add_k_proj",
                ".attn.add_v_proj", ".attn.to_add_out", ".attn.to_qkv_mlp_proj", ".attn.to_out",
            ),
            "feed-forward": (".ff.linear_in", ".ff.linear_out", ".ff_context.linear_in", ".ff_context.linear_out"),
        },
        lora_blocks="",
        loras_in_file_names=True,
        refusals=flow_refusals(title, f"no program reads keys and values of {title} that were trained alone."),
        names=partial(names, language_model=language_model),
        tokenizer_files=tokenizer_files,
    )  # fmt: skip


KLEIN_4B = _klein("4B", SMALL, 5, 20, 2560, "qwen3_4b")
KLEIN_9B = _klein("9B", LARGE, 8, 24, 4096, "qwen3_8b")
FAMILIES = (KLEIN_4B, KLEIN_9B)
