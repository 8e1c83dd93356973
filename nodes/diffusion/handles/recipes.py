"""A merge as a value on wires: a tree of files and operations. No tensor is read before the tree is saved."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import Family

Spelling = Literal["own", "file", "folder"]
"""The names of a VAE's tensors: unchanged, as in single files, or as in folders."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The tensors of one safetensors file, or of a diffusers folder under `unet.`, `vae.` and `text_encoder.`."""

    kind: Literal["source"] = "source"
    digest: str
    """The identity of the content; the run resolves it to a path."""
    name: str
    resolution: int = 0
    """The native picture side in pixels; 0 if the file does not state it."""
    changes: tuple[Path, ...] = ()
    """Files of trained weights that replace the folder's, named as in a WeightChange."""
    moving_average: bool = False
    """True if the moving average in a single file replaces its UNet's weights."""
    vae_spelling: Spelling = "own"


@dataclass(frozen=True, kw_only=True)
class Merged:
    """One operation on the tensors of the same name in all inputs; the result has the tensors of the first input."""

    kind: Literal["merged"] = "merged"
    method: str
    """The name in the table of merge methods, `merging.merge_method.METHODS`."""
    inputs: "tuple[Recipe, ...]"
    weights: tuple[float, ...]
    """Weighted: one for each input. Otherwise the one strength of the method's equation."""
    blocks: tuple[tuple[str, float], ...] = ()
    """Ratios of single UNet blocks such as `IN04`, in place of the general one; for two weighted inputs."""
    density: float = 1.0
    """TIES: the share of entries kept. DARE: the probability that an entry is kept."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Baked:
    """Trained LoRAs, or others of the family, added to the weights of their layers: each by its strength times W' - W."""

    kind: Literal["baked"] = "baked"
    input: "Recipe"
    loras: tuple[LowRankAdapter, ...]


@dataclass(frozen=True, kw_only=True)
class Permuted:
    """Permuted hidden units, which do not change what the model computes."""

    kind: Literal["permuted"] = "permuted"
    input: "Recipe"
    orders: Path
    """The source index of each row, `rows.NAME` of a tensor [n], and of each column, `columns.NAME`: whole numbers."""
    reference: str
    """The name of the model to which the order is matched."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Some parts of a model, without the additional tensors of trainers."""

    kind: Literal["pruned"] = "pruned"
    input: "Recipe"
    parts: tuple[str, ...]
    """Of `unet`, `vae` and `text_encoder`."""


Recipe: TypeAlias = Source | Merged | Baked | Permuted | Pruned


@dataclass(frozen=True)
class Checkpoint:
    """A handle on all tensors of a model, in files or as a merge that is not yet evaluated."""

    recipe: Recipe
    family: Family
    """The family's name, or `other` for none."""


def sources_of(recipe: Recipe) -> Iterator[Source]:
    """Yield the files that a recipe is made of, in order of use and as often as they are used."""
    if isinstance(recipe, Source):
        yield recipe
        return
    for part in parts_of(recipe):
        yield from sources_of(part)


def parts_of(recipe: Recipe) -> "tuple[Recipe, ...]":
    """Return the inputs of an operation, first the one that determines the tensors; empty for a file."""
    match recipe:
        case Source():
            return ()
        case Merged():
            return recipe.inputs
        case Baked() | Permuted() | Pruned():
            return (recipe.input,)


def operations_in(recipe: Recipe) -> Iterator[Merged]:
    """Yield every merge in a recipe."""
    if isinstance(recipe, Merged):
        yield recipe
    for part in parts_of(recipe):
        yield from operations_in(part)


def with_sources(recipe: Recipe, change: Callable[[Source], Source]) -> Recipe:
    """Return the same operations on other sources."""
    match recipe:
        case Source():
            return change(recipe)
        case Merged():
            return replace(recipe, inputs=tuple(with_sources(part, change) for part in recipe.inputs))
        case Baked() | Permuted() | Pruned():
            return replace(recipe, input=with_sources(recipe.input, change))


def baked_in(recipe: Recipe) -> Iterator[Baked]:
    """Yield every `Baked` in a recipe."""
    if isinstance(recipe, Baked):
        yield recipe
    for part in parts_of(recipe):
        yield from baked_in(part)


def permuted_in(recipe: Recipe) -> Iterator[Permuted]:
    """Yield every `Permuted` in a recipe."""
    if isinstance(recipe, Permuted):
        yield recipe
    for part in parts_of(recipe):
        yield from permuted_in(part)


def name_of(recipe: Recipe) -> str:
    """Return a short name, such as `A + B`, LoRAs last."""
    loras = [lora.label for baked in baked_in(recipe) for lora in baked.loras]
    return " + ".join(dict.fromkeys([*(source.name for source in sources_of(recipe)), *loras]))
