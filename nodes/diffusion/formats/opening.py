"""Safe opening of files that others may change or replace."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""The flag with which opening does not block: a pipe without a writer would hold its reader for ever."""
Stamp = tuple[int, int, int, int, int]
"""Device, inode, size and both times, which change when a file is replaced or written."""


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file, under which facts about the file are cached."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file; raise OSError at once for a pipe, a device or a folder."""
    _check_regular(os.stat(path), path)  # opening a device may already do something
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | AT_ONCE))  # noqa: SIM115 (the caller closes it)
    try:
        _check_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file."""
    with open_regular(path) as file:
        return file.read()
