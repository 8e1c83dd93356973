"""Atomic writes: a reader sees the old file or the new one, and no other file is overwritten."""

import contextlib
import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

LARGE = 2**28
"""Bytes from which a file is hard-linked rather than copied, where possible."""


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: written beside it, flushed to the disk, renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, then endlessly the same with -2, -3 ... before its suffix."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def same_content(one: Path, other: Path) -> bool:
    """Return whether two files are equal; stops at the first difference, which costs less than their digests."""
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


def copy_or_share(source: Path, target: Path) -> None:
    """Copy a file to `target`; hard-link a large one, to save time and disk space."""
    if source.stat().st_size >= LARGE:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def place(source: Path, target: Path) -> None:
    """Hard-link a finished file to `target`, which must not exist; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        _copy_new(source, target)


def _copy_new(source: Path, target: Path) -> None:
    with target.open("xb") as file, source.open("rb") as content:
        try:
            shutil.copyfileobj(content, file)
        except BaseException:
            target.unlink()
            raise
