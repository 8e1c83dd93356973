"""The families that are known: one for each entry of `FAMILIES` in the `facts` of a folder beside this file."""

import importlib
import math
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import COMPONENT_KINDS, Component, Facts, Method, ModelFolder, Shape, missing_parts

PACKAGE = __name__.rpartition(".")[0]
FIRST = "stable_diffusion"
"""The folder whose families are asked first, and named first in messages."""


@cache
def known() -> dict[str, Facts]:
    """Return the families by name, in the order in which they are asked."""
    names = [name for folder in _folders() if find_spec(name := f"{PACKAGE}.{folder}.facts")]
    return {facts.name: facts for name in names for facts in importlib.import_module(name).FAMILIES}


def _folders() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.ispkg)
    return sorted(found, key=lambda name: (name != FIRST, name))


@cache
def package_of(name: str) -> str:
    """Return the package of a family, which holds its `facts` and its `code`; raise InputError when no such family is known."""
    family = facts(name)
    packages = (f"{PACKAGE}.{folder}" for folder in _folders() if find_spec(f"{PACKAGE}.{folder}.facts"))
    found = (package for package in packages if family in importlib.import_module(f"{package}.facts").FAMILIES)
    if (package := next(found, None)) is None:
        raise InputError(f"{family.title} has no computations here.", field="model", remedy="Install the package that brings it.")
    return package


def families() -> tuple[Facts, ...]:
    """Return all families."""
    return tuple(known().values())


def facts(name: str) -> Facts:
    """Return a family by its name; raise InputError when no such family is known."""
    try:
        return known()[name]
    except KeyError:
        remedy = "Update Latent Loom, or load the model again."
        raise InputError(f"no model family is called {name!r}.", field="model", remedy=remedy) from None


def part_folders(*, weights: bool = False) -> tuple[str, ...]:
    """Return the folders of the parts of all families, or of those that have weights."""
    return tuple(dict.fromkeys(part.folder for facts in families() for part in facts.parts if part.weights or not weights))


def part_name(family: str, folder: str) -> str:
    """Return the name of a part, with which names of adapters' tensors begin, by its folder; the folder's for no part."""
    return next((part.name for part in facts(family).parts if part.folder == folder), folder)


def check_method(family: str, method: Method, field: str = "model") -> None:
    """Raise InputError, with the family's own reason, when a method makes no sense for it."""
    if refusal := facts(family).refusals.get(method):
        raise InputError(refusal.message, field=field, remedy=refusal.remedy)


def check_known_method(known: Sequence[Any], method: Method, field: str = "model") -> None:
    """Raise the same for the models of which it is known beforehand that they arrive at an input."""
    for model in known:
        check_method(model["family"], method, field)


def token_limit(family: str, max_token_length: int) -> int:
    """Return how many tokens of a text a model reads, whose LoadModel says `max_token_length`."""
    return facts(family).max_text_tokens or max_token_length


def family_of_folder(folder: ModelFolder) -> Facts:
    """Return the family of a diffusers folder; where parts are missing, the family that misses the fewest."""
    missing = {facts.name: missing_parts(facts, folder) for facts in families()}
    found = (facts for facts in families() if not missing[facts.name] and facts.is_folder(folder))
    return next(found, None) or min(families(), key=lambda facts: len(missing[facts.name]) or math.inf)


def family_of_file(shapes: Mapping[str, Shape]) -> Facts | None:
    """Return the family of a single file by its tensors, None when no family knows it."""
    return next((facts for facts in families() if facts.is_file(shapes)), None)


def family_of_denoiser(shapes: Mapping[str, Shape]) -> Facts | None:
    """Return the family whose denoiser is among the tensors of a file or folder, None when no family knows it."""
    return next((facts for facts in families() if facts.is_denoiser(shapes)), None)


def titles(conjunction: str, method: Method | None = None) -> str:
    """Return the names of all families, or of those that a method fits, as messages list them: `and` or `or` before the last."""
    *others, last = (facts.title for facts in families() if method not in facts.refusals)
    return f"{', '.join(others)} {conjunction} {last}"


def readable() -> str:
    """Return a sentence that says which families can be read."""
    return f"{titles('and')} can be read, as single files that hold all of a model, or as diffusers folders."


def file_prefixes(component: Component) -> tuple[str, ...]:
    """Return how the names of a component's tensors begin in single files, of all families."""
    return tuple(dict.fromkeys(prefix for facts in families() for prefix in facts.file_prefixes[component]))


def prefixes(component: Component) -> tuple[str, ...]:
    """Return the same in single files and in folders."""
    kind = COMPONENT_KINDS[component]
    folders = (f"{part.folder}." for facts in families() for part in facts.parts if part.kind == kind)
    return (*file_prefixes(component), *dict.fromkeys(folders))


def one_spelling(name: str) -> str:
    """Return what the spellings of a tensor's name have in common, in files and in folders."""
    for rare, usual in dict.fromkeys(pair for facts in families() for pair in facts.spellings):
        name = name.replace(rare, usual)
    return name


def is_moving_average(name: str) -> bool:
    """Return whether a single file's tensor belongs to a moving average of its denoiser."""
    return any(facts.average_prefix and name.startswith(facts.average_prefix) for facts in families())


def moving_average(name: str) -> str:
    """Return the name of the moving average of a denoiser's tensor in a single file; empty for tensors that have none."""
    return next((average for facts in families() if (average := facts.moving_average(name))), "")


def latent_channels_at(name: str) -> int | None:
    """Return the channels of the latents when a tensor is the input layer of a denoiser, in any layout; None otherwise."""
    return next((facts.latent_channels for facts in families() if name.endswith(facts.input_layers)), None)
