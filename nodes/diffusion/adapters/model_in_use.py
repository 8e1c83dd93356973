"""The one way to use a model: its parts in memory with the handle's adapters applied, for one `with` block."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.devices import Precision
from nodes.diffusion.formats.model_folders import info_of
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models.active import ActiveModel, held
from nodes.diffusion.models.parts import ModelParts


@contextmanager
def model_in_use(
    handle: DiffusionModel, locate: Callable[[str], Path], *, device: torch.device, precision: Precision = "fp32"
) -> Generator[ActiveModel]:
    """Apply a handle's adapters to its parts, and remove them afterwards; the parts stay in memory unchanged.

    `locate` returns the folder or file of a digest. Parts are loaded on first use, and those that are in use stay in memory.
    """
    folder = locate(handle.digest)
    parts = ModelParts(
        folder,
        device,
        precision,
        info_of(handle, folder),
        digest=handle.digest,
        initial_seed=handle.initial_seed,
        moving_average=handle.moving_average,
        files={part: locate(digest) for part, digest in handle.files},
    )
    with held(ActiveModel(handle, parts)) as model, apply_adapters(handle.adapters, model) as tensors:
        model.applied = tensors
        yield model
