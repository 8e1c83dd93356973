"""The facts that families of rectified-flow transformers have in common, given those that differ; needs no torch."""

import json
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, Field

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import (
    Component,
    Count,
    Counterpart,
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


@dataclass(frozen=True)
class Stack:
    """Transformer blocks of one kind, which follow one another."""

    letter: str
    """How the names of its blocks begin in merges: `L00`, `L01`."""
    names: tuple[str, ...]
    """What its blocks' tensors begin with, in a folder and in files."""
    count: int
    """The blocks of the published model."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Find the number of a block in a tensor's name."""
        return re.compile(rf"(?:^|\.)(?:{'|'.join(map(re.escape, self.names))})\.(\d+)\.")


class _ClassName(BaseModel):
    """What is read of a denoiser's config.json to know it."""

    class_name: Annotated[str, Field(alias="_class_name")] = ""


class _VAE(BaseModel):
    """What is read of vae/config.json."""

    latent_channels: Annotated[Count, Field(validation_alias=AliasChoices("latent_channels", "z_dim"))] = 4
    sample_size: Count = 1024


class _TextEncoder(BaseModel):
    """What is read of text_encoder/config.json."""

    hidden_size: Count


def check_text_width(folder: ModelFolder, needed: int, layers: int = 1) -> None:
    """Raise InputError unless the states of so many layers of a folder's text encoder are as wide as its denoiser needs."""
    found = folder.read("text_encoder/config.json", _TextEncoder).hidden_size * layers
    if needed != found:
        message = f"the text encoder of {folder.name} gives {found} numbers for a token, and its transformer takes {needed}."
        remedy = "Put the text encoder into its folder that the model was published with."
        raise InputError(message, field="model", remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class TransformerFamily:
    """A family of a transformer, a VAE and text encoders that are frozen; see `Facts`."""

    name: str
    title: str
    parts: tuple[Part, ...]
    """The denoiser is the part called `unet`, whatever its folder: so tensors of adapters are named in the cache."""
    pipeline: str
    latent_channels: int
    vae_channels: int
    """Channels in the configuration of the VAE, fewer where the denoiser is given patches of its latents."""
    max_text_tokens: int
    stacks: tuple[Stack, ...]
    """Its transformer blocks, which merges give ratios."""
    architecture_id: str
    """The ModelSpec id."""
    kohya_version: str
    """What trainers write as `ss_base_model_version`."""
    published_file: Path
    """JSON of the published configurations by path in a diffusers folder."""
    part_marks: Mapping[Component, tuple[str | tuple[str, ...], int, int]]
    """The end, or several, of the name of a tensor that a component has in all files, one of its axes, and how long this is."""
    marks_of_denoiser: tuple[str, ...]
    """Ends of the names of tensors that its denoisers have, all of them, and no other family's."""
    input_layers: tuple[str, ...]
    prefixes: Mapping[Component, str]
    """How the names of a component's tensors begin in single files that hold all."""
    lora_endings: Mapping[LoraKind, tuple[str, ...]]
    """Ends of the names of the layers that LoRAs adapt, by kind; they are within `lora_blocks`."""
    lora_blocks: str
    """How the names of the denoiser's layers begin that LoRAs adapt."""
    loras_in_file_names: bool = False
    """Whether most programs read LoRAs by the names of layers in single files, which may fuse them; a folder's otherwise."""
    refusals: Mapping[Method, Refusal] = field(default_factory=dict[Method, Refusal])
    names: Callable[[Iterable[str]], TensorNames]
    tokenizer_files: Callable[[], Mapping[str, str]]
    """Texts of the files of its tokenizer, by name."""

    samples_latents: bool = True

    resolution: ClassVar[int] = 0
    picture_step: ClassVar[int] = 16
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
        return ("BASE", *(f"{stack.letter}{number:02}" for stack in self.stacks for number in range(stack.count)))

    def block_finder(self, names: Iterable[str]) -> Callable[[str], str]:
        folders = (f"{part.folder}." for part in self.parts if part.kind != "denoiser")
        others = (*folders, *(prefix for component, prefix in self.prefixes.items() if component != "unet"))

        def block_of(name: str) -> str:
            found = () if name.startswith(others) else ((stack, stack.pattern.search(name)) for stack in self.stacks)
            return next((f"{stack.letter}{int(match[1]):02}" for stack, match in found if match), "")

        return block_of

    def is_folder(self, folder: ModelFolder) -> bool:
        return folder.read(f"{self.denoiser.folder}/config.json", _ClassName).class_name == self.denoiser.cls

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        vae = folder.read("vae/config.json", _VAE)
        if vae.latent_channels != (needed := self.vae_channels_of(folder)):
            message = f"the VAE of {folder.name} has {vae.latent_channels} channels, and {self.title} needs {needed}."
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

    def vae_channels_of(self, folder: ModelFolder) -> int:
        """Return how many channels the VAE of a folder must have; those of the published model unless the family says more."""
        return self.vae_channels

    def is_denoiser(self, shapes: Mapping[str, Shape]) -> bool:
        return all(any(name.endswith(mark) for name in shapes) for mark in self.marks_of_denoiser)

    def is_file(self, shapes: Mapping[str, Shape]) -> bool:
        return self.is_denoiser(shapes)

    def check_file(self, file: TensorFile) -> None:
        """Do nothing: what a file lacks, others give."""

    def missing_components(self, shapes: Mapping[str, Shape]) -> list[Component]:
        apart: tuple[Component, ...] = ("text_encoder", "vae")
        return [component for component in apart if not any(name.startswith(self.prefixes[component]) for name in shapes)]

    def check_part(self, component: Component, file: TensorFile) -> None:
        ending, axis, expected = self.part_marks[component]
        found = next((shape[axis] for name, shape in file.shapes.items() if name.endswith(ending) and len(shape) > axis), None)
        if found != expected:
            what = {"vae": "VAE", "text_encoder": "text encoder"}.get(component, component)
            holds = f"a {what} of width {found}" if found else f"no {what}"
            message = f"{file.path.name} holds {holds}, and {self.title} needs one of width {expected}."
            raise InputError(message, field=component, remedy=f"Choose the {what} that {self.title} was published with.")

    def published(self) -> dict[str, Any]:
        return json.loads(self.published_file.read_text(encoding="utf-8"))

    def configurations(self, file: TensorFile) -> dict[str, Any]:
        """Return the published configurations; raise InputError for a denoiser of another size."""
        self._check_size(file)
        return self.published()

    def _check_size(self, file: TensorFile) -> None:
        ending, axis, expected = self.part_marks["unet"]
        found = next((shape[axis] for name, shape in file.shapes.items() if name.endswith(ending)), 0)
        block_of = self.block_finder(file.shapes)
        blocks = len({block for name in file.shapes if (block := block_of(name))})
        if found != expected or blocks < len(self.blocks) - 1:
            message = (
                f"{file.path.name} has the names of {self.title}, but width {found} and {blocks} blocks where {expected} and "
                f"{len(self.blocks) - 1} are published."
            )
            raise InputError(message, field="model", remedy="Use its diffusers folder, which describes it.")

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        return "flow", f"all {self.title} models do"

    def vocabulary(self) -> Mapping[str, str]:
        return self.tokenizer_files()

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

    def kohya_namer(self, denoiser_layers: Collection[str]) -> Callable[[str], Counterpart]:
        return self._name_in_files if self.loras_in_file_names else _name_in_folders

    def _name_in_files(self, layer: str) -> Counterpart:
        found = self.names(()).to_file(f"{self.denoiser.folder}.{layer.removeprefix('unet.')}.weight")
        if found is None or found.conversion == "swapped":  # programs differ in which half of a LoRA's rows comes first
            return _name_in_folders(layer)
        name = found.name.removeprefix(self.prefixes["unet"]).removesuffix(".weight")
        return Counterpart(f"diffusion_model.{name}", found.conversion)


def _name_in_folders(layer: str) -> Counterpart:
    return Counterpart(f"diffusion_model.{layer.removeprefix('unet.')}")
