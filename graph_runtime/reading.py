"""Opening files that somebody else may change, replace, or have made of something that is no file."""

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

AT_ONCE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""How a file is opened so that nobody waits: a pipe without a writer would hold its reader for ever."""


class Stamp(NamedTuple):
    """What tells a file from the one that takes its place, and from itself after somebody wrote to it."""

    device: int
    inode: int
    size: int
    modified: int
    """Nanoseconds; programs can set it back."""
    changed: int
    """Nanoseconds; of the content or of what is known of it, such as its names and permissions."""


def stamp_from(status: os.stat_result) -> Stamp:
    """Return the stamp in what the system says of a file."""
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file or folder, links followed."""
    return stamp_from(path.stat())


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file; raise OSError at once for a pipe, a device, a socket or a folder."""
    _check_regular(os.stat(path), path)  # opening a device may already do something
    handle = os.open(path, AT_ONCE)
    try:
        _check_regular(os.fstat(handle), path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
