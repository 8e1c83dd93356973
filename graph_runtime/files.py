"""Writing so that a reader sees the old file or the new one, never half of either, and no file takes another's place."""

import contextlib
import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

LARGE = 2**28
"""Bytes of a file that is not copied where a link does."""


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
    """Yield `path`, then without end the same with -2, -3 ... before its suffix."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def same_content(one: Path, other: Path) -> bool:
    """Return whether two files are alike byte for byte; it ends where they first differ, which costs less than their digests."""
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


def copy_or_share(source: Path, target: Path) -> None:
    """Put a copy at `target`; of a large file a second name, since copying takes as long as making it and as much disk again."""
    if source.stat().st_size >= LARGE:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def place(source: Path, target: Path) -> None:
    """Give a finished file a second name that must be free; where the file system has no links, copy it."""
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
