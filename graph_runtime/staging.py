"""Hidden folders for unfinished files in the output folder, removed once the process that made them is dead."""

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
"""Age from which a folder without a lock is abandoned; a younger one may be in the making."""


@contextmanager
def staging(output: Path) -> Generator[Path]:
    """Make a folder on the file system of `output`, from which finished files are moved in one step."""
    folder, lock = _locked_folder(output)
    try:
        (inner := folder / "files").mkdir()
        yield inner
    finally:
        lock.remove()
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(output: Path) -> tuple[Path, FileLock]:
    """Make a folder and lock it; try again when a sweep has removed it before it was locked."""
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
    """Remove folders of killed processes."""
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
