"""Models of the published sizes: names and shapes without weights, and files of random ones."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.single_file.checkpoint_tensors import of_folder
from nodes.diffusion.formats.single_file.writing import Written, write_checkpoint
from nodes.diffusion.handles.models import Family
from nodes.diffusion.models.parts import class_of


def empty_parts(family: Family, in_channels: int = 4) -> dict[str, Any]:
    """The parts of a family as our configurations describe them, on the meta device; a UNet takes so many channels."""
    parts: dict[str, Any] = {}
    with init_empty_weights():
        for part in [part for part in facts(family).parts if part.weights]:
            config, cls = facts(family).published()[f"{part.folder}/config.json"], class_of(part)
            config |= {"in_channels": in_channels} if part.folder == "unet" else {}
            parts[part.folder] = cls.from_config(config) if part.library == "diffusers" else cls(cls.config_class(**config))
    return parts


def single_file(family: Family, in_channels: int = 4) -> dict[str, Written]:
    """The tensors of a family's single file; those that have weights lie on the meta device."""
    parts = empty_parts(family, in_channels)
    tensors = {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}
    return of_folder(tensors, facts(family))


def write_random(family: Family, file: Path, dtype: torch.dtype, *, in_channels: int = 4) -> None:
    """Write a checkpoint of full size whose weights are small random numbers, the same every time."""
    generator = torch.Generator().manual_seed(0)
    written = {
        name: own if own.shape == (1, 77) else Written(own.shape, dtype, partial(_random, own.shape, dtype, generator))
        for name, own in single_file(family, in_channels).items()
    }
    write_checkpoint(written, None, {}, file, lambda done, total: None)


def _random(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=generator).mul_(0.02)
