"""A denoiser without weights: its layers, their names and shapes."""

from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel

from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.models.parts import class_of


def empty_denoiser(folder: Path, family: str) -> Any:
    """Return the denoiser that a model's folder describes, on the meta device; no weights are read."""
    part = next(part for part in facts(family).parts if part.kind == "denoiser")
    with init_empty_weights():
        return class_of(part).from_config(read_config(folder / part.folder / "config.json"))


def empty_unet(folder: Path) -> Any:
    """Return the UNet that its own folder describes, for methods that know no other denoiser."""
    with init_empty_weights():
        return UNet2DConditionModel.from_config(read_config(folder / "config.json"))
