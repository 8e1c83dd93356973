"""A family that is none of Stable Diffusion's: a transformer, one text encoder, and single files with names of their own."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import (
    Component,
    Counterpart,
    Extra,
    LoraKind,
    Method,
    ModelFolder,
    Part,
    Refusal,
    Rows,
    Shape,
    TensorFile,
    TextEncoder,
)
from nodes.diffusion.handles.models import ModelInfo, PredictionType, Purpose

CONFIGS: dict[str, Any] = {
    "transformer/config.json": {"_class_name": "ToyTransformer", "width": 4},
    "vae/config.json": {"block_out_channels": [8, 16]},
    "text_encoder/config.json": {"hidden_size": 8},
    "tokenizer/tokenizer_config.json": {},
    "scheduler/scheduler_config.json": {},
}
MARK = "toy.layers.0.qkv.weight"


class ToyNames:
    """Folders say `transformer.layers`, files `toy.layers`; queries, keys and values are one tensor in files."""

    def to_file(self, name: str) -> Counterpart | None:
        for index, third in enumerate("qkv"):
            if name.endswith(f".{third}.weight"):
                fused = name.removesuffix(f"{third}.weight") + "qkv.weight"
                return Counterpart(fused.replace("transformer.", "toy."), Rows(index))
        return None

    def in_file(self, name: str, present: Container[str]) -> Counterpart | None:
        found = self.to_file(name)
        return found if found and found.name in present else None

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        plain = name.replace("toy.", "transformer.").removesuffix("qkv.weight")
        return tuple(Counterpart(f"{plain}{third}.weight", Rows(index)) for index, third in enumerate("qkv"))


@dataclass(frozen=True)
class ToyFamily:
    """Answers what `Facts` asks."""

    name: str = "toy"
    title: str = "Toy"
    parts: tuple[Part, ...] = (
        Part("transformer", "transformer", "denoiser", "diffusers", "ToyTransformer"),
        Part("vae", "vae", "VAE", "diffusers", "AutoencoderKL"),
        TextEncoder("text_encoder_0", "text_encoder", "text encoder", "transformers", "ToyModel"),
        Part("tokenizer_0", "tokenizer", "tokenizer", "transformers", "ToyTokenizer"),
        Part("scheduler", "scheduler", "scheduler", "diffusers", "ToyScheduler"),
    )
    empty_components: tuple[str, ...] = ()
    zeros_when_unconditional: bool = False
    embedding_precision: Literal["fp32"] = "fp32"
    lora_leaves: Literal["kohya"] = "kohya"
    max_text_tokens: int = 0
    latent_channels: int = 16
    picture_step: int = 16
    resolution: int = 1024
    input_layers: tuple[str, ...] = ("toy.x_embedder.weight",)
    blocks: tuple[str, ...] = ("BASE", "L00", "L01")
    inpainting_architecture: str = ""
    embedding_names: tuple[str, ...] = ("toy",)
    spellings: tuple[tuple[str, str], ...] = ()
    average_prefix: str = ""

    @property
    def pipelines(self) -> Mapping[Purpose, str]:
        return {"text-to-image": "ToyPipeline"}

    @property
    def refusals(self) -> Mapping[Method, Refusal]:
        return {"hypernetwork": Refusal("Toy has no cross-attention.", "Train a LoRA.")}

    @property
    def file_prefixes(self) -> Mapping[Component, tuple[str, ...]]:
        return {"unet": ("toy.",), "vae": (), "text_encoder": ()}

    def is_folder(self, folder: ModelFolder) -> bool:
        return "transformer" in folder.parts

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        return ModelInfo(
            family=self.name,
            prediction_type="epsilon",
            resolution=self.resolution,
            text_parts=("tokenizer", "text_encoder"),
            max_clip_skip=0,
            zero_terminal_snr=False,
        )

    def is_file(self, shapes: Mapping[str, Shape]) -> bool:
        return MARK in shapes

    def is_denoiser(self, shapes: Mapping[str, Shape]) -> bool:
        return MARK in shapes

    def check_file(self, file: TensorFile) -> None:
        if "toy.final.weight" not in file.shapes:
            raise InputError(f"{file.path.name} is Toy and holds no final layer.", field="model", remedy="Copy it again.")

    def missing_components(self, shapes: Mapping[str, Shape]) -> list[Component]:
        return []

    def check_part(self, component: Component, file: TensorFile) -> None:
        message = f"{self.title} models are read whole."
        raise InputError(message, field=component, remedy="Leave it empty; BakeVAE puts another VAE into a model.")

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        return "epsilon", "all Toys do"

    def published(self) -> dict[str, Any]:
        return CONFIGS

    def configurations(self, file: TensorFile) -> dict[str, Any]:
        return CONFIGS

    def vocabulary(self) -> Mapping[str, str]:
        return {"vocab.json": "{}"}

    def tensor_names(self, names: Iterable[str]) -> ToyNames:
        return ToyNames()

    def moving_average(self, name: str) -> str:
        return ""

    def extra_tensors(self, names: Collection[str]) -> dict[str, Extra]:
        return {}

    def marks(self, predicts: PredictionType, *, zero_snr: bool, present: Container[str]) -> list[str]:
        return []

    def block_finder(self, names: Iterable[str]) -> Callable[[str], str]:
        return lambda name: f"L{int(name.split('.')[2]):02}" if name.startswith("toy.layers.") else ""

    def architecture(self, config: Mapping[str, Any], predicts: PredictionType) -> str:
        return f"Toy-{config['width']}"

    def architecture_by_input(self, width: int, channels: int) -> str:
        return f"Toy-{width}"

    def kohya_metadata(self, predicts: PredictionType) -> dict[str, str]:
        return {"ss_base_model_version": "toy"}

    def lora_kind(self, layer: str) -> LoraKind | None:
        return "attention" if layer.endswith(".qkv") else None

    def lora_layer_finder(self, layers: Iterable[str]) -> Callable[[str], str | None]:
        known = {f"diffusion_model.{layer}": layer for layer in layers}
        return known.get

    def kohya_namer(self, denoiser_layers: Collection[str]) -> Callable[[str], Counterpart]:
        return lambda layer: Counterpart(f"diffusion_model.{layer}")
