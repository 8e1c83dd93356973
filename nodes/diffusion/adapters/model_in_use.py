"""The one way to use a model: its parts in memory with the handle's adapters applied, for one `with` block."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from nodes.diffusion.adapters.apply import PATCHING, apply_adapters
from nodes.diffusion.devices import Precision
from nodes.diffusion.errors import InputError
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
    with held(ActiveModel(handle, parts)) as model, _patched(parts, handle), apply_adapters(handle.adapters, model) as tensors:
        model.applied = tensors
        yield model


@contextmanager
def _patched(parts: ModelParts, handle: DiffusionModel) -> Generator[None]:
    """Note that parts are patched; raise InputError where they already are: the second use would see the first one's adapters."""
    patched = parts.residency.patched
    if parts.identity in patched:
        message = f"{handle.name} is in use with adapters, and the same parts cannot be used a second time meanwhile."
        raise InputError(message, field="model", remedy="End the first use before the second one begins.")
    if not any(adapter.kind in PATCHING for adapter in handle.adapters):
        yield
        return
    patched.add(parts.identity)
    try:
        yield
    finally:
        patched.remove(parts.identity)
