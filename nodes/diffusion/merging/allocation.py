"""Allocation of large tensors, and how freed memory is kept."""

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
"""Bytes: what is larger is not kept, and within `giving_back_freed_memory` neither is this."""


@functools.cache
def keep_freed_memory() -> None:
    """Let this process use what one slice freed for the next one.

    The C library of Linux gives it back to the system and asks again otherwise, and each page of it is then filled with
    zeros once more: that takes longer than the arithmetic.
    """
    _set(MMAP_THRESHOLD, KEPT)
    _set(TRIM_THRESHOLD, 2 * KEPT)


@contextmanager
def giving_back_freed_memory() -> Generator[None]:
    """Let this process give freed tensors back meanwhile: results that stay between them would hold their places empty."""
    _set(MMAP_THRESHOLD, GIVEN_BACK)
    try:
        yield
    finally:
        _set(MMAP_THRESHOLD, KEPT)


def _set(option: int, size: int) -> None:
    """Set an option of Linux' C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(option, size)


def lying_in(folder: Path, shape: tuple[int, ...], dtype: Any = np.float32) -> Tensor:
    """Return a tensor of zeros whose memory is a file without a name: the system may write it to the disk to gain memory."""
    if not prod(shape):
        return torch.from_numpy(np.zeros(shape, dtype))
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, dtype, "w+", shape=shape))
