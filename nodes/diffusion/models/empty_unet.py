"""A UNet without weights: its layers, their names and shapes."""

from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel

from nodes.diffusion.formats.model_folders import read_config


def empty_unet(folder: Path) -> Any:
    """Return the UNet that a folder's `config.json` describes, on the meta device; no weights are read."""
    with init_empty_weights():
        return UNet2DConditionModel.from_config(read_config(folder / "config.json"))
