"""The facts that families of rectified-flow transformers have in common, given those that differ; needs no torch."""

import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import (
    Component,
    Count,
    Extra,
    LoraKind,
    Method,
    ModelFolder,
    Part,
    Refusal,
    Shape,
    TensorFile,
    TensorNames,
)
from nodes.diffusion.families.tensor_names.lora_spellings import finder
from nodes.diffusion.handles.models import ModelInfo, PredictionType, Purpose

BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.")


class _ClassName(BaseModel):
    """What is read of a denoiser's config.json to know it."""

    class_name: Annotated[str, Field(alias="_class_name")] = ""


class _VAE(BaseModel):
    """What is read of vae/config.json."""

    latent_channels: Count = 4
    sample_size: Count = 1024


@dataclass(frozen=True, kw_only=True)
class TransformerFamily:
    """A family of a transformer, a VAE and text encoders that are frozen; see `Facts`."""

    name: str
    title: str
    parts: tuple[Part, ...]
    """The denoiser is the part called `unet`, whatever its folder: so tensors of adapters are named in the cache."""
    pipeline: str
    latent_channels: int
    max_text_tokens: int
    layers: int
    """Transformer blocks of the published model, which merges give ratios."""
    architecture_id: str
    """The ModelSpec id."""
    kohya_version: str
    """What trainers write as `ss_base_model_version`."""
    mark: tuple[str, str, int]
    """The end of the name of a tensor that only its denoisers have; that of another, and how many inputs this has."""
    input_layers: tuple[str, ...]
    prefixes: Mapping[Component, str]
    """How the names of a component's tensors begin in single files that hold all."""
    lora_endings: Mapping[LoraKind, tuple[str, ...]]
    """Ends of the names of the layers that LoRAs adapt, by kind; they are within `lora_blocks`."""
    lora_blocks: str
    """How the names of the denoiser's layers begin that LoRAs adapt."""
    refusals: Mapping[Method, Refusal] = field(default_factory=dict[Method, Refusal])
    names: Callable[[Iterable[str]], TensorNames]

    resolution: ClassVar[int] = 0
    embedding_precision: ClassVar[Literal["bf16"]] = "bf16"
    empty_components: ClassVar[tuple[str, ...]] = ()
    zeros_when_unconditional: ClassVar[bool] = False
    inpainting_architecture: ClassVar[str] = ""
    embedding_names: ClassVar[tuple[str, ...]] = ()
    spellings: ClassVar[tuple[tuple[str, str], ...]] = ()
    average_prefix: ClassVar[str] = ""
    lora_leaves: ClassVar[Literal["peft"]] = "peft"

    @property
    def denoiser(self) -> Part:
        return next(part for part in self.parts if part.kind == "denoiser")

    @property
    def file_prefixes(self) -> Mapping[Component, tuple[str, ...]]:
        return {component: (prefix,) for component, prefix in self.prefixes.items()}

    @property
    def pipelines(self) -> Mapping[Purpose, str]:
        return {"text-to-image": self.pipeline}

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("BASE", *(f"L{number:02}" for number in range(self.layers)))

    def block_finder(self, names: Iterable[str]) -> Callable[[str], str]:
        def block_of(name: str) -> str:
            in_denoiser = not name.startswith(tuple(prefix for part, prefix in self.prefixes.items() if part != "unet"))
            found = BLOCK.search(name) if in_denoiser else None
            return f"L{int(found[1]):02}" if found else ""

        return block_of

    def is_folder(self, folder: ModelFolder) -> bool:
        return folder.read(f"{self.denoiser.folder}/config.json", _ClassName).class_name == self.denoiser.cls

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        vae = folder.read("vae/config.json", _VAE)
        if vae.latent_channels != self.latent_channels:
            message = (
                f"the VAE of {folder.name} has {vae.latent_channels} channels, and {self.title} needs {self.latent_channels}."
            )
            raise InputError(message, field="model", remedy=f"Put the VAE that {self.title} was published with into its folder.")
        kinds = ("tokenizer", "text encoder")
        return ModelInfo(
            family=self.name,
            prediction_type="flow",
            resolution=vae.sample_size,
            text_parts=tuple(part.folder for kind in kinds for part in self.parts if part.kind == kind),
            max_clip_skip=0,
            zero_terminal_snr=False,
        )

    def is_denoiser(self, shapes: Mapping[str, Shape]) -> bool:
        own, other, width = self.mark
        named = any(name.endswith(own) for name in shapes)
        return named and any(name.endswith(other) and shape[-1:] == (width,) for name, shape in shapes.items())

    def is_file(self, shapes: Mapping[str, Shape]) -> bool:
        return self.is_denoiser(shapes)

    def check_file(self, file: TensorFile) -> None:
        for component, prefix in self.prefixes.items():
            if not any(name.startswith(prefix) for name in file.shapes):
                what = {"unet": "no whole model", "vae": "no VAE", "text_encoder": "no text encoder"}[component]
                message = f"{file.path.name} is {self.title} and holds {what}."
                remedy = f"Use the diffusers folder, with the folders {', '.join(part.folder for part in self.parts)}."
                raise InputError(message, field="model", remedy=remedy)

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        return "flow", f"all {self.title} models do"

    def vocabulary(self) -> Mapping[str, str]:
        return {}

    def tensor_names(self, names: Iterable[str]) -> TensorNames:
        return self.names(names)

    def moving_average(self, name: str) -> str:
        return ""

    def extra_tensors(self, names: Collection[str]) -> dict[str, Extra]:
        return {}

    def marks(self, predicts: PredictionType, *, zero_snr: bool, present: Container[str]) -> list[str]:
        return []

    def architecture_by_input(self, width: int, channels: int) -> str:
        return ""

    def kohya_metadata(self, predicts: PredictionType) -> dict[str, str]:
        return {"ss_base_model_version": self.kohya_version}

    def lora_kind(self, layer: str) -> LoraKind | None:
        if not layer.startswith(f"unet.{self.lora_blocks}"):
            return None
        return next((kind for kind, endings in self.lora_endings.items() if layer.endswith(endings)), None)

    def lora_layer_finder(self, layers: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
        folder = self.denoiser.folder
        return finder(layers, lambda name: self.names(()).to_file(f"{folder}.{name}.weight"), self.prefixes["unet"], folder)

    def kohya_namer(self, denoiser_layers: Collection[str]) -> Callable[[str], str]:
        return lambda layer: f"diffusion_model.{layer.removeprefix('unet.')}"
