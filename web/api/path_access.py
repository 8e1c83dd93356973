"""Checks of paths in requests: inside the workspace, never the program's own state, and plain names only for writing."""

import re
from io import BufferedReader
from pathlib import Path, PurePosixPath

from graph_runtime.workspace import PathRefused, Workspace
from web.api.refusal import refused

STATE = ".latentloom"
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)
FORBIDDEN = frozenset('\\:*?"<>|')
MAX_NAME_BYTES = 200
MAX_DEPTH = 16


class PathAccess:
    """Resolves paths of requests; `shipped` folders can be read, not written."""

    def __init__(self, root: Path, shipped: tuple[Path, ...] = ()) -> None:
        self.root = root.resolve()
        self._readable = Workspace(root, packages=shipped)
        self._writable = Workspace(root)

    def to_read(self, path: str) -> Path:
        """Return the resolved path; an empty one is the root."""
        return self._checked(self._readable, path or ".")

    def open(self, path: str) -> BufferedReader:
        """Open the regular file that `to_read` resolves; read it through this descriptor only."""
        resolved = self.to_read(path)
        return _opened(self._readable, resolved)

    def to_write(self, path: str) -> Path:
        """Return the resolved path of a new file; every part must be a valid name on all systems."""
        parts = PurePosixPath(path).parts
        if len(parts) > MAX_DEPTH:
            raise refused(400, f"The path has more than {MAX_DEPTH} parts.")
        for part in parts:
            check_name(part)
        return self._checked(self._writable, path or ".")

    def relative(self, path: Path) -> str:
        """Return a path relative to the workspace; empty for its root."""
        return "" if path == self.root else path.relative_to(self.root).as_posix()

    def _checked(self, workspace: Workspace, path: str) -> Path:
        resolved = workspace.resolve(path)
        if resolved.is_relative_to(self.root) and self.is_hidden(resolved):
            raise PathRefused("What begins with a dot is not reached from here.")
        return resolved

    def is_hidden(self, path: Path) -> bool:
        """Return whether any part of a path below the root begins with a dot, as the program's own state does."""
        return any(part.startswith(".") for part in path.relative_to(self.root).parts)


def as_text(name: str) -> str:
    """Return a file's name as valid text, with question marks for bytes that are none (Linux allows any)."""
    return name.encode(errors="replace").decode()


def check_name(name: str) -> str:
    """Return a plain file name; refuse names that some system alters or hides."""
    bad = set(name) & FORBIDDEN or "/" in name or any(ord(character) < 32 or ord(character) == 127 for character in name)
    if not name or bad or name.startswith((".", " ", "~")) or name.endswith((".", " ")):
        raise refused(400, f"{name[:80]!r} is not a plain file name.", "Use letters, digits, spaces, - and _.")
    if RESERVED.fullmatch(name):
        raise refused(400, f"{name[:80]!r} is a name that Windows keeps for itself.", "Choose another name.")
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES or not name.isprintable():
        raise refused(400, "The name is too long, or cannot be printed.", "Choose a shorter, plain name.")
    return name


def open_inside(folder: Path, path: str) -> BufferedReader:
    """Open a file below `folder`, links followed; refuse a path that leads out of it or does not exist."""
    workspace = Workspace(folder)
    return _opened(workspace, workspace.resolve(path))


def _opened(workspace: Workspace, resolved: Path) -> BufferedReader:
    try:
        return workspace.open(str(resolved))
    except (PathRefused, OSError):
        raise refused(404, f"There is no file {resolved.name[:200]!r}.") from None
