"""Reading of tensors and slices of tensors from files."""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import BYTES, Entry
from nodes.diffusion.formats.model_folders import AGAIN

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Supported dtypes by their names in safetensors headers."""


class Reader:
    """Reads from files, which stay open while it is in use."""

    def __init__(self, files: ExitStack) -> None:
        self._files = files
        self._open: dict[Path, FileIO] = {}

    def raw(self, entry: Entry, start: int = 0, count: int | None = None) -> Tensor:
        """Return `count` numbers from the `start`th on, as bytes [n]."""
        width = BYTES[entry.dtype]
        found = torch.empty(width * (entry.count - start if count is None else count), dtype=torch.uint8)
        file = self._open.get(entry.file)
        if file is None:
            file = self._open[entry.file] = self._files.enter_context(entry.file.open("rb", buffering=0))
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)  # the system reads further ahead
        view, done = bytes_of(found), 0
        file.seek(entry.start + width * start)
        while done < len(view):
            read = file.readinto(view[done:])
            if not read:
                raise InputError(f"{entry.file.name} ended before its time.", field="path", remedy=AGAIN)
            done += read
        return found

    def numbers(self, entry: Entry, start: int = 0, count: int | None = None) -> Tensor:
        """Return numbers as a flat float32 tensor."""
        found = self.raw(entry, start, count).view(DTYPES[entry.dtype]).to(torch.float32)
        if entry.scale:
            rows = torch.arange(start, start + len(found)) // (entry.count // entry.shape[0])
            found *= self._scales(entry.scale, rows)
        return found

    def rows(self, entry: Entry, width: int, order: Tensor) -> Tensor:
        """Return rows of `width` numbers by their indices [n], in this order, as a flat float32 tensor."""
        size = width * BYTES[entry.dtype]
        rows = np.memmap(entry.file, np.uint8, "r", offset=entry.start, shape=(entry.count // width, size))
        found = torch.from_numpy(np.take(rows, order.numpy(), axis=0))
        numbers = found.flatten().view(DTYPES[entry.dtype]).to(torch.float32)
        if entry.scale:
            numbers *= self._scales(entry.scale, order.repeat_interleave(width))
        return numbers

    def _scales(self, scale: Entry, rows: Tensor) -> Tensor:
        """Return the scales of these rows [n]: [n], or [1] if there is one for all."""
        scales = self.numbers(scale)
        return scales if len(scales) == 1 else scales[rows]

    def slices(self, entry: Entry, size: int) -> Iterator[Tensor]:
        """Yield all numbers of a tensor, `size` at a time."""
        for start in range(0, entry.count, size):
            yield self.numbers(entry, start, min(size, entry.count - start))


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a flat tensor as a view."""
    array: Any = tensor.view(torch.uint8).numpy()
    return memoryview(array)


@contextmanager
def reading() -> Generator[Reader]:
    with ExitStack() as files:
        yield Reader(files)
