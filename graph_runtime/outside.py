"""Checks that outside files still have the content whose digest is in the run's keys."""

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
    """An outside file has changed since the run was planned: no result from it may be kept under the plan's keys."""

    remedy = "Run again: what is finished is kept."

    def __init__(self, path: Path, place: Path) -> None:
        super().__init__(f"{path.relative_to(place.parent)} changed after the run was planned.")


class Known(NamedTuple):
    """A file's digest, and its stamp at that time; None when the file was too recent for the stamp to show a change."""

    digest: str
    stamp: Stamp | None


class Listing(NamedTuple):
    """The files that make up a folder's digest, and all folders that were searched."""

    files: list[Path]
    folders: list[Path]


@dataclass
class Content:
    """The content of one digest: a file, or the files of a folder, which `find` lists again."""

    place: Path
    files: dict[Path, Known]
    find: Callable[[], Listing] | None = None

    def begun(self) -> dict[Path, Stamp]:
        """Return the current stamps of all files and folders; raise ContentChanged when a file's content has changed."""
        stamps = {path: self._confirmed(path, known) for path, known in self.files.items()}
        return stamps | {folder: self._stamp(folder) for folder in self._listed()}

    def compare(self, stamps: dict[Path, Stamp]) -> None:
        """Raise ContentChanged when a content has changed since `stamps` were taken.

        A file with another stamp of the same size, such as after a change of permissions, is read again; a changed folder is
        listed again.
        """
        for path, before in stamps.items():
            now = self._stamp(path)
            if now == before:
                continue
            settled = is_settled(now)  # before the file is read, so that a write meanwhile shows
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
        """Return the folders; raise ContentChanged when the list of files has changed."""
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
    """The contents that one node reads: compared when reading begins, and again before a result is kept."""

    contents: Mapping[str, Content] = field(default_factory=dict[str, Content])
    _stamps: dict[str, dict[Path, Stamp]] = field(default_factory=dict[str, dict[Path, Stamp]])
    _looked: float = 0.0

    def begin(self, digest: str) -> None:
        """Confirm a content before it is read, and that those already read have not changed."""
        if digest in self._stamps:
            self.contents[digest].compare(self._stamps[digest])
        elif digest in self.contents:
            self._stamps[digest] = self.contents[digest].begun()

    def check(self) -> None:
        """Raise ContentChanged when a content has changed since this node began to read it."""
        for digest, stamps in self._stamps.items():
            self.contents[digest].compare(stamps)
        self._looked = time.monotonic()

    def glance(self) -> None:
        """Check at most once per second."""
        if time.monotonic() - self._looked > GLANCE_SECONDS:
            self.check()

    @contextmanager
    def opened(self, digest: str, path: Path) -> Generator[BufferedReader]:
        """Open a file that is read to its end at once; its content is confirmed on this descriptor, before and after."""
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
    """Return the stamp of an open file; read it if that is not `trusted`, and raise ContentChanged for other content."""
    stamp = stamp_from(os.fstat(file.fileno()))
    if stamp != trusted:
        file.seek(0)
        if digest_of(file) != content.files[path].digest:
            raise ContentChanged(path, content.place)
        file.seek(0)
    return stamp
