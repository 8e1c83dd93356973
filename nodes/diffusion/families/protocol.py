"""The light side of a family of models, without torch, which readers of files, merges and nodes ask."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, Field

from nodes.diffusion.handles.models import ModelInfo, PredictionType, Purpose

Shape = tuple[int, ...]
Count = Annotated[int, Field(gt=0, le=2**20)]
"""Layers, channels or pixels in a configuration."""
Config = TypeVar("Config", bound=BaseModel)
PartKind = Literal["denoiser", "VAE", "text encoder", "tokenizer", "scheduler"]
Component = Literal["unet", "vae", "text_encoder"]
"""What merges keep or leave out as a whole: the denoiser, the VAE, all text encoders."""
COMPONENT_KINDS: dict[Component, PartKind] = {"unet": "denoiser", "vae": "VAE", "text_encoder": "text encoder"}


@dataclass(frozen=True)
class Rows:
    """The rows of one of several layers in the tensor of a single file that fuses them, such as queries, keys and values."""

    index: int
    """Which of the layers it is, in the order of the rows."""
    shares: tuple[int, ...] = (1, 1, 1)
    """How many rows each layer has, in relation to the others."""

    def of(self, rows: int) -> range:
        """Return which of a tensor's rows are this layer's."""
        first, whole = sum(self.shares[: self.index]), sum(self.shares)
        return range(rows * first // whole, rows * (first + self.shares[self.index]) // whole)


Conversion = Literal["", "conv", "transposed", "swapped"] | Rows
"""How a folder's tensor is stored in a single file: as it is, [a, b] as [a, b, 1, 1], transposed, with the second half of the
rows before the first, or as some of the rows."""

Method = Literal[
    "LoRA", "DreamBooth", "fine-tuning", "textual inversion", "DreamArtist", "custom diffusion", "hypernetwork",
    "DDIM inversion", "null-text inversion", "aesthetic gradient", "CLIP training", "image variation",
    "A1111 embedding", "custom diffusion file", "text encoder training", "single file", "Rebasin",
]  # fmt: skip
"""What a family may refuse: methods of training and inversion, and layouts of files."""


LoraKind = Literal["attention", "feed-forward", "convolution"]
"""What a layer does that LoRAs adapt: the targets that can be chosen are made of these."""


@dataclass(frozen=True)
class Refusal:
    """Why a method makes no sense for a family, and what to do instead: two whole sentences."""

    message: str
    remedy: str


@dataclass(frozen=True)
class Part:
    """A part of a model: its name in this program, the folder that holds it, and the class that reads it from there."""

    name: str
    folder: str
    kind: PartKind
    library: Literal["diffusers", "transformers"]
    cls: str
    other_classes: tuple[str, ...] = ()
    """Classes that a folder's `architectures` may name in place of the usual one."""

    @property
    def weights(self) -> str:
        """The name of its file of weights, without suffix; empty for a part that has none."""
        stem = "diffusion_pytorch_model" if self.library == "diffusers" else "model"
        return stem if self.kind in COMPONENT_KINDS.values() else ""


@dataclass(frozen=True)
class TextEncoder(Part):
    """A CLIP text encoder, and how its states condition the denoiser."""

    penultimate: bool = False
    """Whether the states are those of the layer before the last, without the final norm."""
    pooled: bool = False
    """Whether its projected state at the end of the text conditions the denoiser too."""

    def unused_layers(self, clip_skip: int) -> int:
        """Return how many of its last layers nothing depends on, when clip skip drops so many."""
        return 0 if self.pooled else clip_skip + self.penultimate


@dataclass(frozen=True)
class Counterpart:
    """The tensor of the other layout that holds a weight, and the conversion from the folder to the single file."""

    name: str
    conversion: Conversion = ""


class TensorNames(Protocol):
    """Names of one model's tensors in a diffusers folder, where they begin with their part's, and in a single file."""

    def to_file(self, name: str) -> Counterpart | None:
        """Return the single file's tensor that holds a folder's; None for a name that the family does not have."""
        ...

    def in_file(self, name: str, present: Container[str]) -> Counterpart | None:
        """Return the same among the tensors that a file has, in whichever spelling."""
        ...

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensors that a single file's holds: several where they are fused, () for none."""
        ...


class TensorFile(Protocol):
    """A checkpoint in one file, by its header."""

    @property
    def path(self) -> Path: ...
    @property
    def shapes(self) -> Mapping[str, Shape]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    def numbers(self, name: str) -> list[float]: ...


class ModelFolder(Protocol):
    """A diffusers folder, or one that describes a single file."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def parts(self) -> frozenset[str]:
        """Names of the folders in it."""
        ...

    def read(self, path: str, kind: type[Config]) -> Config:
        """Return what is needed of a JSON configuration; raise InputError, naming it, when it is missing or damaged."""
        ...


@dataclass(frozen=True)
class Extra:
    """A tensor that single files have and folders lack; no result depends on it, but other programs look for it.

    `positions` counts [1, n], `logit scale` is CLIP's, `identity` [n, n]; numbers are of the type of the tensor `like`. `copy`
    is that tensor itself.
    """

    kind: Literal["positions", "logit scale", "identity", "copy"]
    like: str


class Facts(Protocol):
    """A family: how it is recognised, how its files are named, and which methods fit it."""

    @property
    def name(self) -> str:
        """Its name in handles, caches and workflows, which must never change."""
        ...

    @property
    def title(self) -> str:
        """Its name in messages."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]: ...

    @property
    def file_prefixes(self) -> Mapping[Component, tuple[str, ...]]:
        """How the names of a component's tensors begin in single files."""
        ...

    @property
    def pipelines(self) -> Mapping[Purpose, str]:
        """Classes of diffusers that sample with a whole model."""
        ...

    @property
    def empty_components(self) -> tuple[str, ...]:
        """Components that its pipelines have and this program does not write."""
        ...

    @property
    def zeros_when_unconditional(self) -> bool:
        """Whether guidance without a negative prompt takes zeros for it, and not the empty text."""
        ...

    @property
    def embedding_precision(self) -> Literal["fp32", "bf16"]:
        """The precision of text encoders while captions are encoded, and of the embeddings that are kept."""
        ...

    @property
    def max_text_tokens(self) -> int:
        """How many tokens of a text it reads; 0 where LoadModel's `max_token_length` says it."""
        ...

    @property
    def latent_channels(self) -> int: ...
    @property
    def picture_step(self) -> int:
        """What the sides of its pictures are multiples of, in pixels."""
        ...

    @property
    def samples_latents(self) -> bool:
        """Whether it was trained on samples of the VAE's posterior; on its mean otherwise."""
        ...

    @property
    def resolution(self) -> int:
        """Its native picture side in pixels; 0 where its models differ."""
        ...

    @property
    def input_layers(self) -> tuple[str, ...]:
        """How the name of the denoiser's weight ends that takes the latents, in every layout."""
        ...

    @property
    def blocks(self) -> tuple[str, ...]:
        """Blocks of the denoiser in the order in which lists of weights for merging name them, BASE first; () for none."""
        ...

    def block_finder(self, names: Iterable[str]) -> Callable[[str], str]:
        """Return the function from a tensor's name to its block, empty for none, of a model that has these tensors."""
        ...

    def architecture(self, config: Mapping[str, Any], predicts: PredictionType) -> str:
        """Return the ModelSpec id of a model with this denoiser's configuration, one of its own unless it is published."""
        ...

    def architecture_by_input(self, width: int, channels: int) -> str:
        """Return the ModelSpec id by the channels that the input layer gives and takes; empty unless it is published."""
        ...

    @property
    def inpainting_architecture(self) -> str:
        """The ModelSpec id of its models for inpainting; empty for none."""
        ...

    def kohya_metadata(self, predicts: PredictionType) -> dict[str, str]:
        """Return what kohya's trainer writes of the base model."""
        ...

    @property
    def refusals(self) -> Mapping[Method, Refusal]:
        """The methods that make no sense for it."""
        ...

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """Names of a trained word's tensors in files, one for each text encoder."""
        ...

    def lora_kind(self, layer: str) -> LoraKind | None:
        """Return what a linear or convolutional layer does, by its name with its part's; None for those that LoRAs leave out."""
        ...

    def lora_layer_finder(self, layers: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
        """Return the function from a name in a LoRA file to the layer of `layers` that it spells, () for none.

        A name spells several layers where the file fuses them: their rows follow one another.
        """
        ...

    @property
    def lora_leaves(self) -> Literal["kohya", "peft"]:
        """Which names the matrices of a LoRA have in the files that most programs read: kohya's with alpha, or PEFT's without."""
        ...

    def kohya_namer(self, denoiser_layers: Collection[str]) -> Callable[[str], Counterpart]:
        """Return the function from a layer to its name in the LoRA files that most programs read, kohya's for Stable Diffusion.

        It may depend on all layers of the denoiser, and the file's layer may hold several of them.
        """
        ...

    @property
    def spellings(self) -> tuple[tuple[str, str], ...]:
        """Parts of tensor names that files spell in two ways: the rarer, and the usual one."""
        ...

    def is_folder(self, folder: ModelFolder) -> bool:
        """Return whether a folder that has all of its parts is of this family."""
        ...

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        """Return what a folder of this family says of its model; raise InputError for one that cannot be used."""
        ...

    def is_file(self, shapes: Mapping[str, Shape]) -> bool:
        """Return whether a single file is of this family, be it whole or not, by its tensors' names and shapes."""
        ...

    def is_denoiser(self, shapes: Mapping[str, Shape]) -> bool:
        """Return whether tensors, in single-file or folder names, hold a denoiser of this family."""
        ...

    def check_file(self, file: TensorFile) -> None:
        """Raise InputError, naming what is missing, for a file of this family that holds no whole model."""
        ...

    def missing_components(self, shapes: Mapping[str, Shape]) -> list[Component]:
        """Return what a single file of it lacks and what other files may give."""
        ...

    def check_part(self, component: Component, file: TensorFile) -> None:
        """Raise InputError, naming both, for a file that is to give a component and holds another model's, or none."""
        ...

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        """Return what a single file's model predicts, and how that is known."""
        ...

    def published(self) -> dict[str, Any]:
        """Return the published configurations by path in a diffusers folder."""
        ...

    def configurations(self, file: TensorFile) -> dict[str, Any]:
        """Return the configurations that describe a single file; raise InputError when it is not built as published."""
        ...

    def vocabulary(self) -> Mapping[str, str]:
        """Return the texts of the files of its tokenizers, by name, which single files leave out."""
        ...

    def tensor_names(self, names: Iterable[str]) -> TensorNames:
        """Return the naming of a model that has these tensors, in a folder or in a single file."""
        ...

    @property
    def average_prefix(self) -> str:
        """How the names of a moving average begin that a single file holds beside the denoiser; empty for none."""
        ...

    def moving_average(self, name: str) -> str:
        """Return the name of the moving average of a denoiser's tensor in a single file; empty when there can be none."""
        ...

    def extra_tensors(self, names: Collection[str]) -> dict[str, Extra]:
        """Return what a single file has besides the converted tensors of a folder, which are `names`."""
        ...

    def marks(self, predicts: PredictionType, *, zero_snr: bool, present: Container[str]) -> list[str]:
        """Return the empty tensors by which programs know what a single file predicts, and its noise."""
        ...


def weight_folders(family: Facts) -> list[str]:
    """Return the folders of the parts that have weights."""
    return [part.folder for part in family.parts if part.weights]


def denoiser_folder(family: Facts) -> str:
    """Return the folder of the denoiser."""
    return next(part.folder for part in family.parts if part.kind == "denoiser")


def text_encoders(family: Facts) -> list[TextEncoder]:
    """Return the CLIP text encoders, in order of use; language models are parts without further facts."""
    return [part for part in family.parts if isinstance(part, TextEncoder)]


def missing_parts(family: Facts, folder: ModelFolder) -> list[str]:
    """Return the folders of parts that a folder lacks."""
    return [part.folder for part in family.parts if part.folder not in folder.parts]
