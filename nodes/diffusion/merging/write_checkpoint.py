"""Writing of a recipe's result while it is calculated."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.devices import one_thread
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import BYTES
from nodes.diffusion.formats.safetensors_writer import NAMES, header_bytes
from nodes.diffusion.merging.allocation import keep_freed_memory
from nodes.diffusion.merging.evaluate import SLICE, Calculation
from nodes.diffusion.merging.hashing_writer import writing
from nodes.diffusion.merging.plan import MergePlan
from nodes.diffusion.merging.read_tensors import Reader, bytes_of, reading

EXPONENTS = {
    torch.float32: (torch.int32, 0x7F800000),
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
}
"""By dtype, the integer type of the same width, and a mask of its exponent bits."""


@one_thread()  # slices are too small for a second thread, which would spin while it waits
def write_merged(
    plan: MergePlan, dtype: torch.dtype, metadata: Mapping[str, str], path: Path, progress: Callable[[int, int], None]
) -> str:
    """Write the result of a plan as safetensors, its numbers as `dtype`, and return its sha256; same plan, same bytes."""
    kinds = {name: NAMES[dtype] if entry.is_float else entry.dtype for name, entry in plan.tensors.items()}
    names = sorted(kinds, key=lambda name: (-BYTES[kinds[name]], name))
    sizes = {name: plan.tensors[name].count * BYTES[kinds[name]] for name in names}
    header = header_bytes(((name, kinds[name], plan.tensors[name].shape, sizes[name]) for name in names), metadata)
    _check_space(path, len(header) + sum(sizes.values()))
    keep_freed_memory()
    total, done = sum(plan.tensors[name].count for name in names), 0
    with reading() as reader, writing(path) as writer:
        writer.write(header)
        for name in names:
            calculation = Calculation(plan, reader, name, path.parent)
            for part in calculation.slices() if plan.tensors[name].is_float else calculation.copied():
                done += len(part)
                if part.is_floating_point():
                    part = written_as(dtype, part, name, plan, reader)
                writer.write(bytes_of(part))
                progress(done, total)
    return writer.digest()


def _check_space(path: Path, size: int) -> None:
    """Raise OSError when the disk cannot take a new file of this size."""
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def written_as(dtype: torch.dtype, values: Tensor, name: str, plan: MergePlan, reader: Reader) -> Tensor:
    """Return the numbers in the file's dtype; raise InputError naming an input that is not finite."""
    written = values.to(dtype)
    if not _all_finite(written):
        for source, header in plan.headers.items():
            if name in header and not all(_all_finite(part) for part in reader.slices(header[name], SLICE)):
                remedy = "Use another copy of this checkpoint: this one is damaged or its training diverged."
                raise InputError(f"{name} of {source.name} holds numbers that are not finite.", field="model", remedy=remedy)
        remedy = "Save as bf16 or fp32, or merge with a smaller strength."
        raise InputError(f"{name} of the result does not fit into this precision.", field="precision", remedy=remedy)
    return written


def _all_finite(values: Tensor) -> bool:
    """Return whether no number has all exponent bits set, as NaN and infinity have."""
    kind, exponent = EXPONENTS[values.dtype]
    bits: Any = values.view(kind).numpy()
    return not len(bits) or bool((bits & exponent).max() < exponent)
