"""Allocation of large tensors, and reuse of freed memory."""

import ctypes
import functools
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
KEPT, GIVEN_BACK = 2**25, 2**17
"""Largest allocation, in bytes, that is kept when freed, by default and within `giving_back_freed_memory`."""


@functools.cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory of one slice for the next.

    Otherwise the C library of Linux returns it to the system and requests it again, and each page is filled with zeros once
    more, which takes longer than the arithmetic.
    """
    _set(MMAP_THRESHOLD, KEPT)
    _set(TRIM_THRESHOLD, 2 * KEPT)


@contextmanager
def giving_back_freed_memory() -> Generator[None]:
    """Return freed memory to the system meanwhile: results allocated between freed tensors would keep it fragmented."""
    _set(MMAP_THRESHOLD, GIVEN_BACK)
    try:
        yield
    finally:
        _set(MMAP_THRESHOLD, KEPT)


def _set(option: int, size: int) -> None:
    """Set an option of the C library of Linux."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(option, size)


def lying_in(folder: Path, shape: tuple[int, ...], dtype: Any = np.float32) -> Tensor:
    """Return a tensor of zeros mapped from an unnamed file, which the system may write to the disk to free memory."""
    if not prod(shape):
        return torch.from_numpy(np.zeros(shape, dtype))
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, dtype, "w+", shape=shape))
