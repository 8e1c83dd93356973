"""A merge as it travels on wires: a tree of files and operations. No tensor is read before the tree is saved."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nodes.diffusion.values import Family

Method = Literal["weighted", "add difference", "slerp", "cosine", "ties", "dare", "model stock"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The tensors of one safetensors file, or of a diffusers folder under `unet.`, `vae.` and `text_encoder.`."""

    kind: Literal["source"] = "source"
    digest: str
    """Identity of the content; the run knows where it lies."""
    name: str
    resolution: int = 0
    """Native picture side in pixels; 0 where the file does not say."""
    changes: tuple[Path, ...] = ()
    """Files of trained weights that take the place of the folder's, as a WeightChange names them."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """One operation on the tensors of the same name in all inputs; the first input says which tensors there are."""

    kind: Literal["merged"] = "merged"
    method: Method
    inputs: "tuple[Recipe, ...]"
    weights: tuple[float, ...]
    """Weighted: one for each input. Otherwise the one strength that the method's equation names."""
    blocks: tuple[tuple[str, float], ...] = ()
    """Ratios of single UNet blocks such as `IN04`, in place of the general one; for two weighted inputs."""
    density: float = 1.0
    """TIES: share of entries kept. DARE: chance that an entry is kept."""
    seed: int = 0


Recipe: TypeAlias = Source | Merged


@dataclass(frozen=True)
class Checkpoint:
    """A handle on all tensors of a model, as files or as a merge that is still to be carried out."""

    recipe: Recipe
    family: Family | Literal["other"]


def sources_of(recipe: Recipe) -> Iterator[Source]:
    """Yield the files that a recipe is made of, in order of use and as often as they are used."""
    if isinstance(recipe, Source):
        yield recipe
        return
    for part in recipe.inputs:
        yield from sources_of(part)


def name_of(recipe: Recipe) -> str:
    """Return a short name, such as `A + B`."""
    return " + ".join(dict.fromkeys(source.name for source in sources_of(recipe)))
