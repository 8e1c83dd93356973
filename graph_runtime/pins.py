"""Keys that living processes have looked up in a cache and that must not be evicted, kept without writing to the database."""

import contextlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from graph_runtime.locks import FileLock


class Pins:
    """One file of keys per process, named like its session; an evicting process reads all of them."""

    def __init__(self, folder: Path, session: Path) -> None:
        self._folder = folder / "looked_up"
        self._folder.mkdir(exist_ok=True)
        self._sessions = session.parent
        self._own = self._folder / session.name
        self._evicting = folder / "evicting.lock"
        self._file: FileIO | None = None
        self._keys = set[str]()
        self._sweep()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, key: str) -> bool:
        """Pin a key; return False when another process is evicting right now and may not have seen the pin."""
        try:
            self._file = self._file or self._own.open("ab", buffering=0)
            self._file.write(f"{key}\n".encode())
        except OSError:  # a full disk
            return False
        if self._evicting.exists():  # checked after the pin is written; evicting processes make this file before they read pins
            return False
        self._keys.add(key)
        return True

    @contextmanager
    def evicting(self) -> Generator[None]:
        """Mark that entries are being removed; one process at a time holds this."""
        lock = FileLock(self._evicting)
        while not lock.acquire():
            time.sleep(0.01)
        try:
            yield
        finally:
            lock.remove()

    def all(self) -> set[str]:
        """Return the keys that living processes have pinned."""
        self._sweep()
        found = set[str]()
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # the process has ended
                found.update(path.read_text(encoding="utf-8").split("\n"))
        return found

    def remove(self) -> None:
        """Remove all pins of this process."""
        if self._file:
            self._file.close()
        self._own.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the pins of processes that have ended."""
        for path in self._folder.iterdir():
            if not (self._sessions / path.name).exists():
                path.unlink(missing_ok=True)
