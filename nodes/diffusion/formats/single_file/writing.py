"""A whole model written as one file in the layout of its family, tensor by tensor."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Conversion, TensorNames
from nodes.diffusion.formats.pickles import DTYPE_NAMES
from nodes.diffusion.formats.safetensors_writer import header_bytes
from nodes.diffusion.formats.single_file.tensors import shape_in_folder, write_into

REMEDY = "Save as fp32 or bf16."


@dataclass(frozen=True)
class Written:
    """One tensor to be written: its shape, dtype, and the function that returns its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    tensor: Callable[[], Tensor]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


CheckpointTensors = Mapping[str, Written]


def with_changes(checkpoint: CheckpointTensors, changed: Mapping[str, Tensor], names: TensorNames) -> dict[str, Written]:
    """Return a checkpoint with trained tensors, by their names in a folder, in place of its own, in fp16 instead of fp8.

    Raises InputError for one without a counterpart of its shape. A CLIP's image side, which no single file holds, is left out.
    """
    parts: dict[str, list[tuple[Conversion, Tensor]]] = {}
    for name, tensor in changed.items():
        if name.startswith("image_encoder."):
            continue
        own = names.in_file(name, checkpoint)
        if own is None or shape_in_folder(checkpoint[own.name].shape, own.conversion) != tuple(tensor.shape):
            message = f"the trained weight {name} has no place of its size in this checkpoint."
            raise InputError(message, field="model", remedy="Save it with SavePipeline.")
        parts.setdefault(own.name, []).append((own.conversion, tensor))
    return {name: _changed(own, parts[name]) if name in parts else own for name, own in checkpoint.items()}


def _changed(own: Written, parts: list[tuple[Conversion, Tensor]]) -> Written:
    def tensor() -> Tensor:
        copy = own.tensor().to(torch.float32, copy=True)
        for conversion, part in parts:
            write_into(copy, part, conversion)
        return copy

    # the steps of fp8 are larger than the changes of a training
    return Written(own.shape, torch.float16 if own.dtype.itemsize == 1 else own.dtype, tensor)


def write_checkpoint(
    checkpoint: CheckpointTensors,
    precision: torch.dtype | None,
    metadata: Mapping[str, str],
    path: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Write safetensors, floats as `precision` or, when it is None, as they are; one tensor is in memory at a time.

    Raises InputError when a number is not finite or exceeds the range of the precision.
    """
    dtypes = {name: precision if precision and own.dtype.is_floating_point else own.dtype for name, own in checkpoint.items()}
    names = sorted(checkpoint, key=lambda name: (-dtypes[name].itemsize, name))
    total, done = sum(own.size for own in checkpoint.values()), 0
    places = ((name, checkpoint[name].shape, dtypes[name]) for name in names)
    header = header_bytes(((name, DTYPE_NAMES[t], shape, math.prod(shape) * t.itemsize) for name, shape, t in places), metadata)
    with path.open("wb") as file:
        file.write(header)
        for name in names:
            tensor = checkpoint[name].tensor().to(dtypes[name]).contiguous()
            if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16) and not tensor.isfinite().all():
                raise InputError(f"{name} holds numbers that are not finite.", field="precision", remedy=REMEDY)
            if tensor.numel():
                file.write(tensor.flatten().view(torch.uint8).numpy().data)
            done += checkpoint[name].size
            progress(done, total)
