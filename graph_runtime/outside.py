"""Whether what a run reads from outside the cache is still that whose digest its keys hold."""

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from graph_runtime.reading import Stamp, digest_file, digest_of, is_settled, open_regular, stamp_from, stamp_of

GLANCE_SECONDS = 1.0


class ContentChanged(ValueError):
    """An outside file is another one than the run was planned with: nothing of it may be kept under the plan's keys."""

    remedy = "Run again: what is finished is kept."

    def __init__(self, path: Path, place: Path) -> None:
        super().__init__(f"{path.relative_to(place.parent)} changed after the run was planned.")


class Known(NamedTuple):
    """A file's digest, and the stamp that the file had then; None when it was too young for a stamp to tell it apart."""

    digest: str
    stamp: Stamp | None


class Listing(NamedTuple):
    """The files that a folder's digest is made of, and all folders that were looked into."""

    files: list[Path]
    folders: list[Path]


@dataclass
class Content:
    """What lies under one digest: a file, or those of a folder, which `find` finds again."""

    place: Path
    files: dict[Path, Known]
    find: Callable[[], Listing] | None = None

    def begun(self) -> dict[Path, Stamp]:
        """Return the stamps of all files and folders now; raise ContentChanged when a file has other content."""
        stamps = {path: self._confirmed(path, known) for path, known in self.files.items()}
        return stamps | {folder: self._stamp(folder) for folder in self._listed()}

    def compare(self, stamps: dict[Path, Stamp]) -> None:
        """Raise ContentChanged when something has another content than when `stamps` were taken.

        A file of which only the times, the names or the permissions changed, or that an equal one replaced, is read again; a
        folder is looked through again.
        """
        for path, before in stamps.items():
            now = self._stamp(path)
            if now == before:
                continue
            settled = is_settled(now)  # asked before the file is read: what is written meanwhile must show
            known = self.files.get(path)
            if known is None:
                if now[:2] != before[:2]:
                    raise ContentChanged(path, self.place)
                self._listed()
            elif now.size != before.size or not _holds(path, known):
                raise ContentChanged(path, self.place)
            if settled:
                stamps[path] = now

    def _confirmed(self, path: Path, known: Known) -> Stamp:
        stamp = self._stamp(path)
        if stamp != known.stamp:
            if not _holds(path, known):
                raise ContentChanged(path, self.place)
            self.files[path] = Known(known.digest, stamp)
        return stamp

    def _stamp(self, path: Path) -> Stamp:
        try:
            return stamp_of(path)
        except OSError as error:
            raise ContentChanged(path, self.place) from error

    def _listed(self) -> list[Path]:
        """Return the folders; raise ContentChanged when the files are not those that they were."""
        if self.find is None:
            return []
        found = self.find()
        if different := self.files.keys() ^ set(found.files):
            raise ContentChanged(min(different), self.place)
        return found.folders


def _holds(path: Path, known: Known) -> bool:
    try:
        return digest_file(path) == known.digest
    except OSError:
        return False


@dataclass
class Watch:
    """What one node reads: compared when it begins to, and again before anything that came of it is kept."""

    contents: Mapping[str, Content] = field(default_factory=dict[str, Content])
    _stamps: dict[str, dict[Path, Stamp]] = field(default_factory=dict[str, dict[Path, Stamp]])
    _looked: float = 0.0

    def begin(self, digest: str) -> None:
        """Confirm a content that is going to be read; what this node reads already may not have changed meanwhile."""
        if digest in self._stamps:
            self.contents[digest].compare(self._stamps[digest])
        elif digest in self.contents:
            self._stamps[digest] = self.contents[digest].begun()

    def check(self) -> None:
        """Raise ContentChanged when something that this node reads has changed since it began to."""
        for digest, stamps in self._stamps.items():
            self.contents[digest].compare(stamps)
        self._looked = time.monotonic()

    def glance(self) -> None:
        """Check, at most once in a second."""
        if time.monotonic() - self._looked > GLANCE_SECONDS:
            self.check()

    @contextmanager
    def opened(self, digest: str, path: Path) -> Generator[BufferedReader]:
        """Open a file that is read to its end at once; what is told of it is told of this very descriptor."""
        content = self.contents.get(digest)
        with open_regular(path) as file:
            if content is None:
                yield file
                return
            begun = _confirmed(file, content, path, content.files[path].stamp)
            try:
                yield file
            finally:
                _confirmed(file, content, path, begun)


def _confirmed(file: BufferedReader, content: Content, path: Path, trusted: Stamp | None) -> Stamp:
    """Return the stamp of an open file, which is read when it is not the trusted one; raise ContentChanged for other content."""
    stamp = stamp_from(os.fstat(file.fileno()))
    if stamp != trusted:
        file.seek(0)
        if digest_of(file) != content.files[path].digest:
            raise ContentChanged(path, content.place)
        file.seek(0)
    return stamp
