"""The one place where a path from outside becomes a path on the disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

FileDigest = Callable[[Path], str]


class PathRefused(ValueError):
    """A path that leads out of the workspace, or to nothing; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class Workspace:
    """Confines paths to `root`, to the folders of installed node packages, and to what the person named on the command line."""

    def __init__(
        self,
        root: Path,
        *,
        packages: tuple[Path, ...] = (),
        trusted: tuple[Path, ...] = (),
        remedy: str = "Copy it into the workspace, or upload it.",
    ) -> None:
        """`remedy` says how the person reaches what lies outside, in words for where they are told."""
        self.root = root.resolve()
        self._remedy = remedy
        self._packages = packages
        self._allowed = (self.root, *packages, *(path.resolve() for path in trusted))

    def resolve(self, path: str) -> Path:
        """Return where `path` lies, symlinks followed; raise PathRefused when that is outside.

        What the workspace lacks is looked for in the installed packages: `workflows/pictures/line` is there anywhere.
        """
        if not path or "\0" in path:
            raise PathRefused("the path is empty." if not path else "the path holds a null character.")
        if PureWindowsPath(path).drive and not Path(path).is_absolute():
            raise PathRefused(f"{path!r} names a Windows drive.", "Give a path inside the workspace.")
        try:
            resolved = (self.root / path).resolve()
            if not resolved.exists():  # a name that the file system cannot hold fails here and not later
                resolved = self._shipped(path) or resolved
        except (OSError, RuntimeError, ValueError):
            raise PathRefused(f"{path[:80]!r} is not a usable path.") from None
        if not any(resolved.is_relative_to(folder) for folder in self._allowed):
            raise PathRefused(f"{path[:200]!r} lies outside the workspace.", self._remedy)
        return resolved

    def _shipped(self, path: str) -> Path | None:
        candidates = (((package.parent / path).resolve(), package) for package in self._packages)
        return next((found for found, package in candidates if found.is_relative_to(package) and found.exists()), None)


class OutsideReader:
    """Answers fingerprints, and remembers where each content lies."""

    def __init__(self, workspace: Workspace, digest: FileDigest) -> None:
        self._workspace = workspace
        self._digest = digest
        self.located: dict[str, Path] = {}

    def resolve(self, path: str) -> Path:
        return self._workspace.resolve(path)

    def digest_file(self, path: str) -> str:
        file = self._workspace.resolve(path)
        if not file.is_file():
            raise PathRefused(f"there is no file {path!r}.")
        digest = self._digest(file)
        self.located[digest] = file
        return digest

    def digest_folder(self, path: str, suffixes: tuple[str, ...] = ()) -> str:
        folder = self._workspace.resolve(path)
        if not folder.is_dir():
            raise PathRefused(f"there is no folder {path!r}.")
        hasher = hashlib.sha256()
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder)
            if file.is_file() and _wanted(name, suffixes):
                inside = self._workspace.resolve(str(file))
                hasher.update(f"{name.as_posix()}\0{self._digest(inside)}\n".encode())
        digest = hasher.hexdigest()
        self.located[digest] = folder
        return digest


def _wanted(name: Path, suffixes: tuple[str, ...]) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and (not suffixes or name.suffix.lower() in suffixes)
