"""Notes what is written, made, moved and removed outside some folders."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHANGES = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0, "os.link": 1, "os.symlink": 1}
"""Audit events of Python that change a file, and which of their details is its path."""


class Writes:
    """Hears every change of a file while somebody watches; hooks can never be taken out, so there is one for the process."""

    def __init__(self) -> None:
        self._watching = False
        self._paths: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            path, mode, flags = details
            if not (set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event in CHANGES:
            path = details[CHANGES[event]]
        else:
            return
        if isinstance(path, str | os.PathLike):
            self._paths.append(os.path.abspath(path))

    @contextmanager
    def outside(self, *allowed: Path | str) -> Generator[list[str]]:
        """Yield a list that holds, in the end, the paths that were changed and lie in none of these folders."""
        found: list[str] = []
        self._paths.clear()
        self._watching = True
        try:
            yield found
        finally:
            self._watching = False
            inside = (*(f"{folder}{os.sep}" for folder in allowed), "/dev/", "/proc/")
            found += [path for path in self._paths if not path.startswith(inside) and "__pycache__" not in path]


WRITES = Writes()
