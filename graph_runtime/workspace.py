"""Resolution of paths from outside to paths on the disk, all in this file."""

import hashlib
import os
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path, PureWindowsPath

from graph_runtime.hub_cache import snapshots_in
from graph_runtime.outside import Content, Known, Listing
from graph_runtime.reading import is_settled, open_below, open_regular, stamp_of

FileDigest = Callable[[Path], str]
ATTEMPTS = 3
MAX_FILES = 100_000
"""Most files of a folder; no model's folder has so many."""


class PathRefused(ValueError):
    """The path is outside the workspace or does not exist."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class Workspace:
    """Confines paths to `root`, the folders of installed node packages, and paths named on the command line.

    A named path is trusted together with the targets of links in it and its companion files.
    """

    def __init__(
        self,
        root: Path,
        *,
        packages: tuple[Path, ...] = (),
        trusted: tuple[Path, ...] = (),
        remedy: str = "Copy it into the workspace, or upload it.",
    ) -> None:
        """Make the workspace of a folder; `remedy`, how to reach files outside, is shown with each refused path."""
        self.root = root.resolve()
        self._remedy = remedy
        self._packages = packages
        self._trusted = tuple({form for path in trusted for form in (path, path.resolve())})
        self._allowed = (self.root, *packages, *self._trusted)

    def resolve(self, path: str) -> Path:
        """Return `path` with symlinks followed; raise PathRefused when that is outside.

        A path missing from the workspace is looked up in installed packages, so that `workflows/pictures/line` always exists.
        """
        if not path or "\0" in path:
            raise PathRefused("the path is empty." if not path else "the path holds a null character.")
        if PureWindowsPath(path).drive and not Path(path).is_absolute():
            raise PathRefused(f"{path!r} names a Windows drive.", "Give a path inside the workspace.")
        try:
            resolved = (self.root / path).resolve()
            if not resolved.exists():  # an invalid name fails here and not later
                resolved = self._shipped(path) or resolved
        except (OSError, RuntimeError, ValueError):
            raise PathRefused(f"{path[:80]!r} is not a usable path.") from None
        if not any(resolved.is_relative_to(folder) for folder in self._allowed) and not self._is_trusted(self.root / path):
            raise PathRefused(f"{path[:200]!r} lies outside the workspace.", self._remedy)
        return resolved

    def open(self, path: str) -> BufferedReader:
        """Open a regular file at its resolved path, following no link that was put into its way since."""
        place = self.resolve(path)
        root = next((folder for folder in self._allowed if place.is_relative_to(folder)), None)
        return open_below(root, place) if root else open_regular(place)

    def beside(self, path: str, name: str) -> Path | None:
        """Return the file `name` beside a file, or beside its link's target; None when there is none."""
        for place in (self.root / path, self.resolve(path)):
            found = place.with_name(name)
            if found.is_file():
                return found if self._is_trusted(place) else self.resolve(str(found))
        return None

    def _is_trusted(self, place: Path) -> bool:
        """Return whether an unresolved path begins with one that was named on the command line."""
        return ".." not in place.parts and any(place.is_relative_to(trusted) for trusted in self._trusted)

    def _shipped(self, path: str) -> Path | None:
        candidates = (((package.parent / path).resolve(), package) for package in self._packages)
        return next((found for found, package in candidates if found.is_relative_to(package) and found.exists()), None)


class OutsideReader:
    """Digests files for fingerprints, and remembers the path and the files of each digest."""

    def __init__(self, workspace: Workspace, digest: FileDigest) -> None:
        self._workspace = workspace
        self._digest = digest
        self.located: dict[str, Path] = {}
        self.contents: dict[str, Content] = {}
        self.warnings: list[str] = []

    def resolve(self, path: str) -> Path:
        """Resolve a path; keep the name of a link to a file, and enter the snapshot of a Hugging Face cache's repository."""
        place, named = self._workspace.resolve(path), self._workspace.root / path
        if named.is_symlink() and place.is_file():
            return named.parent.resolve() / named.name
        if len(snapshots := snapshots_in(place)) > 1:
            message = f"{place.name} holds {len(snapshots)} snapshots, and refs/main names none of them."
            raise PathRefused(message, "Name one of the folders in its folder snapshots.")
        return self._workspace.resolve(str(snapshots[0])) if snapshots else place

    def beside(self, path: str, name: str) -> Path | None:
        return self._workspace.beside(path, name)

    def digest_file(self, path: str) -> str:
        file = self.resolve(path)
        if not file.is_file():
            raise PathRefused(f"there is no file {path!r}.")
        return self._digested(file)

    def digest_beside(self, path: str, name: str) -> str | None:
        file = self._workspace.beside(path, name)
        return self._digested(file) if file else None

    def _digested(self, file: Path) -> str:
        known = self._known(file)
        self._remember(known.digest, Content(file, {file: known}))
        return known.digest

    def digest_folder(self, path: str, suffixes: tuple[str, ...] = ()) -> str:
        folder = self.resolve(path)
        if not folder.is_dir():
            raise PathRefused(f"there is no folder {path!r}.")
        files = {file: self._known(file) for file in self._listing(folder, suffixes).files}
        hasher = hashlib.sha256()
        for file, known in sorted(files.items()):
            hasher.update(f"{file.relative_to(folder).as_posix()}\0{known.digest}\n".encode())
        digest = hasher.hexdigest()
        self._remember(digest, Content(folder, files, lambda: self._listing(folder, suffixes)))
        return digest

    def _remember(self, digest: str, content: Content) -> None:
        self.located[digest] = content.place
        self.contents[digest] = content

    def _known(self, file: Path) -> Known:
        """Return the digest of a file, read again when it changed meanwhile."""
        for _ in range(ATTEMPTS):
            stamp = stamp_of(file)
            settled = is_settled(stamp)
            digest = self._digest(file)
            if stamp_of(file) == stamp:
                return Known(digest, stamp if settled else None)
        raise PathRefused(f"{file.name} is being written.", "Wait until it is whole.")

    def _listing(self, folder: Path, suffixes: tuple[str, ...]) -> Listing:
        """Find files of a folder and its subfolders; follow links, but not out of the allowed folders."""
        found = Listing([], [])
        for name, folders, files in os.walk(folder, followlinks=True):
            here = Path(name)
            if here.is_symlink() and any(above.samefile(here) for above in self._above(here, folder)):
                folders.clear()  # a link to a parent folder
                continue
            found.folders.append(here)
            folders[:] = [inner for inner in folders if not inner.startswith(".") and self._workspace.resolve(str(here / inner))]
            found.files.extend(here / file for file in files if _wanted(file, suffixes))
            if len(found.files) + len(found.folders) > MAX_FILES:
                raise PathRefused(f"{folder.name} holds more than {MAX_FILES} files.", "Name the folder of one model.")
        for file in found.files:
            if not self._workspace.resolve(str(file)).is_file():
                raise PathRefused(f"{file.relative_to(folder.parent)} is no regular file.", "Remove or replace it.")
        return found

    @staticmethod
    def _above(here: Path, folder: Path) -> list[Path]:
        return [parent for parent in here.parents if parent.is_relative_to(folder)]


def _wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    return not name.startswith(".") and (not suffixes or Path(name).suffix.lower() in suffixes)
