"""Descriptions of a model folder or a single file, read from JSON files and weight headers alone; needs no torch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Config, missing_parts, weight_folders
from nodes.diffusion.families.registry import family_of_folder
from nodes.diffusion.formats.config_bounds import MAX_CONFIG_BYTES, check_depth
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.opening import open_regular
from nodes.diffusion.formats.safetensors_header import read_header
from nodes.diffusion.formats.single_file.configurations import described, description_of
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.formats.weight_files import check_pickle, weight_files
from nodes.diffusion.handles.models import DiffusionModel, ModelInfo

LAYOUT = "A diffusers folder has model_index.json and the folders unet, vae, text_encoder, tokenizer and scheduler."
AGAIN = "Copy or download it again."


@dataclass(frozen=True)
class _Folder:
    """The families' view of a diffusers folder, or of the descriptions of a single file."""

    name: str
    path: Path
    parts: frozenset[str]

    def read(self, path: str, kind: type[Config]) -> Config:
        return read_as(self.path / path, kind)


def inspect_folder(place: Path, *, weights: bool = True) -> ModelInfo:
    """Return the facts of a diffusers folder or a single file; raise InputError when a part is missing, damaged or a pickle.

    Without `weights`, a folder's descriptions are enough.
    """
    if is_single_file(place):
        weights = False  # the weights are in the file itself
        if is_safetensors(place):
            check_whole(place)
    path = described(place)
    folder = _Folder(place.name, path, frozenset(part.name for part in path.iterdir() if part.is_dir()))
    family = family_of_folder(folder)
    if missing := missing_parts(family, folder):
        raise InputError(f"{place.name} has no folder {missing[0]!r}.", field="model", remedy=LAYOUT)
    info = family.inspect(folder)
    if weights:
        for part in weight_folders(family):
            check_weights(path / part)
    return info


def info_of(model: DiffusionModel, folder: Path) -> ModelInfo:
    """Return a handle's ModelInfo; a handle cached by an earlier version has none, so its folder is inspected."""
    return replace(model.info or inspect_folder(folder, weights=False), prediction_type=model.prediction_type)


def read_config(path: Path) -> dict[str, Any]:
    """Return a JSON configuration, a single file's too; raise InputError naming it when it is missing or damaged."""
    path = description_of(path)
    name = f"{path.parent.name}/{path.name}"
    try:
        with open_regular(path) as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        config = json.loads(text.decode()) if len(text) <= MAX_CONFIG_BYTES else None
    except FileNotFoundError:
        raise InputError(f"{name} is missing.", field="model", remedy=LAYOUT) from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.", field="model", remedy=AGAIN) from None
    except (ValueError, RecursionError):
        raise InputError(f"{name} is not valid JSON.", field="model", remedy=AGAIN) from None
    if not isinstance(config, dict):
        wrong = "too long to be a configuration" if len(text) > MAX_CONFIG_BYTES else "not a JSON object"
        raise InputError(f"{name} is {wrong}.", field="model", remedy=AGAIN)
    check_depth(config, name)
    return config


def read_as(path: Path, kind: type[Config]) -> Config:
    """Return the needed fields of a JSON configuration; raise InputError naming invalid ones."""
    try:
        return kind.model_validate(read_config(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"][:1])
        message = f"{path.parent.name}/{path.name}: {place} cannot be used: {first['msg']}."
        raise InputError(message, field="model", remedy=AGAIN) from None


def check_weights(part: Path) -> None:
    """Raise InputError unless every weight file is a whole safetensors file or a pickle of tensors alone."""
    files = weight_files(part)
    if not files:
        remedy = "Copy its .safetensors or .bin files there."
        raise InputError(f"{part.name} holds no weights.", field="model", remedy=remedy)
    if missing := missing_shards(part):
        message = f"{part.name} lacks {len(missing)} of its files of weights, such as {missing[0]}."
        raise InputError(message, field="model", remedy="Copy or download the folder again, until it is whole.")
    for file in files:
        try:
            (check_whole if is_safetensors(file) else check_pickle)(file)
        except OSError as error:
            message = f"{part.name}/{file.name} cannot be read: {error.strerror}."
            raise InputError(message, field="model", remedy=AGAIN) from None


def missing_shards(part: Path) -> list[str]:
    """Return the names of the files that a part's index lists and that are not there."""
    named = {name for index in part.glob("*.safetensors.index.json") for name in read_as(index, _Index).files}
    return sorted(name for name in named if not (part / name).is_file())


class _Index(BaseModel):
    """What is read of an index of weights in several files."""

    weight_map: dict[str, str] = {}

    @property
    def files(self) -> set[str]:
        return set(self.weight_map.values())


def check_whole(file: Path) -> None:
    """Raise InputError when a safetensors file is damaged or cut off."""
    if _stated_size(file) != file.stat().st_size:
        message = f"{file.parent.name}/{file.name} is not a whole safetensors file: it is damaged or cut off."
        raise InputError(message, field="model", remedy=AGAIN)


def _stated_size(file: Path) -> int | None:
    """Return the file size according to a safetensors header; None without a header."""
    try:
        header, begin = read_header(file)
        return begin + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, LookupError):
        return None
