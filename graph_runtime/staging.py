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
    folder, lock = _locked_folder(output)
    try:
        (inner := folder / "files").mkdir()
        yield inner
    finally:
        lock.remove()
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(output: Path) -> tuple[Path, FileLock]:
    """Make a folder and lock it; another one when a sweep has come between and takes it for a dead process's."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=output, prefix=PREFIX))
        lock = FileLock(folder / LOCK)
        try:
            if lock.acquire():
                return folder, lock
        except FileNotFoundError:
            if not output.is_dir():
                raise


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
