"""Whole models as diffusers folders: the files of the model they came from, with changed weights in their places."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.clip_folders import has_text_projection
from nodes.diffusion.formats.model_folders import info_of, read_config
from nodes.diffusion.formats.opening import read_regular
from nodes.diffusion.formats.pickled_parts import pickled_weights
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.formats.weight_files import files_read, is_pickled
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models.loading import load_part, part_from_file

CLIP_PARTS = {
    "image_encoder": ("transformers", "CLIPVisionModelWithProjection", "model"),
    "feature_extractor": ("transformers", "CLIPImageProcessor", ""),
}
"""Library, class and name of the weights of the parts of a CLIP that a folder may hold beside a model."""


def _parts(family: str) -> dict[str, tuple[str, str, str]]:
    """The same of all parts that are saved of a family's models, by folder."""
    return {part.folder: (part.library, part.cls, part.weights) for part in facts(family).parts} | CLIP_PARTS


def model_index(model: DiffusionModel, folder: Path) -> bytes:
    """Return the folder's `model_index.json`, without parts that are not saved; older folders that have none get one."""
    known = _parts(model.family)
    if (folder / "model_index.json").is_file():
        index = read_config(folder / "model_index.json")
        missing = [name for name, value in index.items() if isinstance(value, list) and name not in known]
        safe = {"requires_safety_checker": False} if "requires_safety_checker" in index or "safety_checker" in index else {}
        return _json({**index, **{name: [None, None] for name in missing}, **safe})
    parts = {part: [library, cls] for part, (library, cls, _) in known.items() if (folder / part).is_dir()}
    empty = {part: [None, None] for part in facts(model.family).empty_components if part not in parts}
    made = {
        "_class_name": facts(model.family).pipelines[info_of(model, folder).purpose],
        "_diffusers_version": diffusers.__version__,
    }
    return _json({**made, **parts, **empty})


def description_files(model: DiffusionModel, place: Path) -> dict[str, bytes]:
    """Return the JSON and text files of all parts by path; weights and their indices are left out.

    The scheduler says what the model predicts, and of one trained with no signal at its last timestep that it was, for every
    program that samples from it.
    """
    folder = described(place)
    found: dict[str, bytes] = {}
    for part in _parts(model.family):
        for file in sorted((folder / part).glob("*")):
            if file.suffix in (".json", ".txt", ".model") and not file.name.endswith(".index.json"):
                found[f"{part}/{file.name}"] = read_regular(file)
    stated = read_config(folder / "scheduler" / "scheduler_config.json")
    config = stated if model.prediction_type == "flow" else {**stated, "prediction_type": model.prediction_type}
    if model.zero_terminal_snr:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if config != stated:
        found["scheduler/scheduler_config.json"] = _json(config)
    return found


def weight_parts(folder: Path, family: str) -> dict[str, str]:
    """Return the names of the files of weights of the parts that a folder has, without suffix, by folder."""
    return {part: weights for part, (_, _, weights) in _parts(family).items() if weights and (folder / part).is_dir()}


def part_tensors(model: DiffusionModel, place: Path, part: str, file: Path | None = None) -> dict[str, Tensor]:
    """Return one part's tensors under the names of a folder's files, as they are there or as they are drawn from a seed.

    `file` is the part's own, where the model's holds none.
    """
    folder, cpu = described(place), torch.device("cpu")
    if file or is_single_file(place):
        family, average = facts(model.family), model.moving_average
        cls = _class_of(folder, part, model.family)
        return part_from_file(cls, file or place, folder / part, family, cpu, moving_average=average).state_dict()
    if model.initial_seed is not None:
        return load_part(_class_of(folder, part, model.family), folder / part, cpu, initial_seed=model.initial_seed).state_dict()
    if is_pickled(folder / part):
        return pickled_weights(folder / part)
    return {name: tensor for file in files_read(folder / part) for name, tensor in load_file(file).items()}


def changed_tensors(own: Mapping[str, Tensor], part: str, changed: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a part, by its name, in `dtype`, with `changed` (`unet.NAME`, ...) in their places.

    Numbers that are no floats stay as they are. Raises InputError when a number leaves the range of `dtype`.
    """
    tensors = dict(own)
    prefix = f"{part}."
    for name, tensor in changed.items():
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            tensors[inner if inner in tensors else f"text_model.{inner}"] = tensor
    cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    bad = [name for name, tensor in cast.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        remedy = "Save as fp32 or bf16."
        raise InputError(f"{part} holds numbers that are not finite, in {bad[0]}.", field="precision", remedy=remedy)
    return cast


def _class_of(folder: Path, part: str, family: str) -> Any:
    library, name, _ = _parts(family)[part]
    if part == "text_encoder" and has_text_projection(folder / part):
        return transformers.CLIPTextModelWithProjection
    return getattr(diffusers if library == "diffusers" else transformers, name)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
