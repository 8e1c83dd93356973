"""The temporary folder of this process: removed when it ends, or by a later process if it was killed.

The lock is that of `graph_runtime.locks`, which `nodes.diffusion`, used alone in notebooks, may not import.
"""

import atexit
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


PREFIX, LOCK = "latentloom-described-", "lock"
UNLOCKED_SECONDS = 24 * 3600.0
"""Age from which a folder without a lock is abandoned; a younger one is in the making, or an earlier release may be using it."""
_own: list[Path] = []


def process_folder() -> Path:
    """Return the folder of this process, which no other process removes while this one lives; made where there is none."""
    if not _own or not _own[-1].is_dir():  # some systems delete old temporary files
        _sweep()
        _own.append(_locked_folder())
    return _own[-1]


def _locked_folder() -> Path:
    """Make a folder and lock it until this process ends; try again when a sweep has removed it before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            lock = (folder / LOCK).open("ab")
            _lock(lock)
        except (FileNotFoundError, BlockingIOError, PermissionError):  # the sweep has removed it, or is about to
            continue
        if folder.is_dir():
            atexit.register(_remove, folder, lock)
            return folder
        lock.close()


def _remove(folder: Path, lock: IO[bytes]) -> None:
    lock.close()
    shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the folders of killed processes, which the system has unlocked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is another user's, it is in use, or another process was quicker
            _remove_abandoned(folder)


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder that no process uses; raise OSError when one does."""
    if not (folder / LOCK).exists():
        if folder.stat().st_mtime < time.time() - UNLOCKED_SECONDS:
            shutil.rmtree(folder)
        return
    with (folder / LOCK).open("r+b") as lock:
        _lock(lock)
        shutil.rmtree(folder)
