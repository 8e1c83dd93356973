"""A lock between processes that the operating system releases when its holder dies."""

import contextlib
import os
import sys
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


class FileLock:
    """An exclusive lock on `path`, held while this object is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Take the lock and return True, or return False when another process has it."""
        while True:
            file = self.path.open("ab")
            try:
                _lock(file)
            except OSError:
                file.close()
                return False
            if self._lies_there(file):
                self._file = file
                return True
            file.close()  # the last holder has removed it meanwhile

    def _lies_there(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Release the lock and remove its file."""
        with contextlib.suppress(OSError):  # on Windows an open file cannot be removed, so it stays
            self.path.unlink()
        self.release()

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None
