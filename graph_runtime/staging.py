"""Where files wait in the output folder until they are whole: hidden, and swept when the process that made them is dead."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from graph_runtime.locks import FileLock

PREFIX, LOCK = ".folder-", "lock"
MOMENT_SECONDS = 60.0
"""A folder without a lock is older than this, or is being made just now."""


@contextmanager
def staging(output: Path) -> Generator[Path]:
    """Make a folder on the file system of `output`, so that what is whole moves to its place in one step."""
    folder = Path(tempfile.mkdtemp(dir=output, prefix=PREFIX))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    (inner := folder / "files").mkdir()
    try:
        yield inner
    finally:
        lock.remove()
        shutil.rmtree(folder, ignore_errors=True)


def sweep(output: Path) -> None:
    """Remove what killed processes have left."""
    for folder in output.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another process was quicker
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    lock = FileLock(folder / LOCK)
    if not lock.path.exists():
        return folder.stat().st_mtime < time.time() - MOMENT_SECONDS
    if lock.acquire():
        lock.remove()
        return True
    return False
