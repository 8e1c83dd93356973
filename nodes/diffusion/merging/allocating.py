"""How freed memory is kept."""

import ctypes
import functools
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
KEPT = 2**25


@functools.cache
def keep_freed_memory() -> None:
    """Let this process use what one slice freed for the next one.

    The C library of Linux gives it back to the system and asks again otherwise, and each page of it is then filled with
    zeros once more: that takes longer than the arithmetic.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            mallopt(MMAP_THRESHOLD, KEPT)
            mallopt(TRIM_THRESHOLD, 2 * KEPT)
