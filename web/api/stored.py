"""JSON documents in a folder, each with a revision, so that no page overwrites a change that it has not seen."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from graph_runtime.files import write_atomic
from graph_runtime.reading import NotRegular
from graph_runtime.workspace import PathRefused, Workspace
from web.api.path_access import as_text
from web.api.refusal import not_found, refused

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Content:
    """A file's bytes and their revision."""

    name: str
    content: bytes
    modified: float

    @property
    def revision(self) -> str:
        return revision_of(self.content)


class StoredFolder:
    """The `*.json` files of a folder; `what` names one of them in messages. Names are checked by the caller."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self._what = what
        self._writing = asyncio.Lock()

    async def read_all(self, use: Callable[[Content], Kind]) -> list[Kind]:
        """Return `use` of each file, in order of names; only one file at a time is in memory."""
        return await asyncio.to_thread(lambda: [use(found) for name in self._names() if (found := self._read(name))])

    async def read(self, name: str) -> Content:
        """Return a file; refuse with 404 when there is none."""
        found = await asyncio.to_thread(self._read, name)
        if found is None:
            raise not_found(f"{self._what} {name!r}")
        return found

    async def write(self, name: str, content: bytes, seen: str | None) -> str:
        """Replace a file whose revision is `seen`, or make one when that is None; return the new revision."""
        async with self._writing:
            there = await asyncio.to_thread(self._read, name)
            if (there.revision if there else None) != seen:
                change = "changed elsewhere" if there and seen else "is there already" if there else "was removed elsewhere"
                remedy = "Open it again, or save under another name."
                raise refused(409, f"The {self._what} {name!r} {change}.", remedy)
            await asyncio.to_thread(self._replace, name, content)
        return revision_of(content)

    async def remove(self, name: str, seen: str = "") -> None:
        """Remove a file; refuse with 404 when there is none, and with 409 when it no longer has the revision `seen`."""
        async with self._writing:
            there = await asyncio.to_thread(self._read, name) if seen else None
            if there and there.revision != seen:
                raise refused(409, f"The {self._what} {name!r} changed elsewhere.")
            try:
                await asyncio.to_thread((self.folder / name).unlink)
            except FileNotFoundError:
                raise not_found(f"{self._what} {name!r}") from None

    def _names(self) -> list[str]:
        names = (path.name for path in self.folder.glob("*.json"))
        return sorted(name for name in names if not name.startswith(".") and name == as_text(name))

    def _read(self, name: str) -> Content | None:
        try:
            with Workspace(self.folder).open(name) as file:
                return Content(name, file.read(), os.fstat(file.fileno()).st_mtime)
        except (PathRefused, FileNotFoundError, NotRegular):
            return None

    def _replace(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / name, content)


def revision_of(content: bytes) -> str:
    """Return the revision of a file's bytes."""
    return hashlib.sha256(content).hexdigest()
