"""Safe opening of files that others may change or replace, or that are no regular files."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""The flag with which opening does not block: a pipe without a writer would hold its reader for ever."""


TICK_NS = 50 * 10**6


class NotRegular(OSError):
    """The path is no regular file, but a pipe, a device, a socket or a folder."""


class Stamp(NamedTuple):
    """Status values that change when a file is replaced or written."""

    device: int
    inode: int
    size: int
    modified: int
    """Nanoseconds; programs can set it back."""
    changed: int
    """Nanoseconds; of the last change of content, names or permissions."""


def stamp_from(status: os.stat_result) -> Stamp:
    """Return the stamp in a file's status."""
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file or folder, links followed."""
    return stamp_from(path.stat())


def is_settled(stamp: Stamp) -> bool:
    """Return whether the next change will show in the stamp: file systems have coarse clocks, so two changes may get one time."""
    return time.time_ns() - stamp.changed > TICK_NS


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file; raise NotRegular at once for anything else."""
    _check_regular(os.stat(path), path)  # opening a device may already do something
    return _checked(path, lambda name, flags: os.open(name, flags | AT_ONCE))


def open_below(root: Path, place: Path) -> BufferedReader:
    """Open a regular file by its resolved path below `root`, following no link that was put into its way since."""
    if os.open not in os.supports_dir_fd:  # Windows, where links take special rights
        return open_regular(place)
    *folders, last = place.relative_to(root).parts
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folders:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        _check_regular(os.stat(last, dir_fd=here, follow_symlinks=False), place)
        return _checked(place, lambda _, flags: os.open(last, flags | AT_ONCE | os.O_NOFOLLOW, dir_fd=here))
    finally:
        os.close(here)


def _checked(path: Path, opener: Callable[[str, int], int]) -> BufferedReader:
    file = open(path, "rb", opener=opener)  # noqa: SIM115 (the caller closes it)
    try:
        _check_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(errno.EINVAL, "Not a regular file", str(path))


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal."""
    with open_regular(path) as file:
        return digest_of(file)


def digest_of(file: BufferedReader) -> str:
    """Return the sha256 of the rest of an open file."""
    return hashlib.file_digest(file, "sha256").hexdigest()
