"""Which paths a request may name: inside the workspace, never the program's own state, and when writing only plain names."""

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


class Places:
    """Turns paths of requests into places on the disk; `shipped` folders can be read, not written."""

    def __init__(self, root: Path, shipped: tuple[Path, ...] = ()) -> None:
        self.root = root.resolve()
        self._readable = Workspace(root, packages=shipped)
        self._writable = Workspace(root)

    def to_read(self, path: str) -> Path:
        """Return where `path` lies; an empty one is the root."""
        return self._checked(self._readable, path or ".")

    def open(self, path: str) -> BufferedReader:
        """Open what `to_read` finds: a regular file, which is then read from this descriptor alone."""
        place = self.to_read(path)
        return _opened(self._readable, place)

    def to_write(self, path: str) -> Path:
        """Return where something new may be written; every part must be a name that all systems can keep."""
        parts = PurePosixPath(path).parts
        if len(parts) > MAX_DEPTH:
            raise refused(400, f"The path has more than {MAX_DEPTH} parts.")
        for part in parts:
            check_name(part)
        return self._checked(self._writable, path or ".")

    def relative(self, place: Path) -> str:
        """Return the path of a place in the workspace."""
        return "" if place == self.root else place.relative_to(self.root).as_posix()

    def _checked(self, workspace: Workspace, path: str) -> Path:
        resolved = workspace.resolve(path)
        if resolved.is_relative_to(self.root) and self.is_hidden(resolved):
            raise PathRefused("What begins with a dot is not reached from here.")
        return resolved

    def is_hidden(self, place: Path) -> bool:
        """Return whether any part of a place below the root begins with a dot, as the program's own state does."""
        return any(part.startswith(".") for part in place.relative_to(self.root).parts)


def as_text(name: str) -> str:
    """Return a file's name, on Linux any bytes, with question marks for those that are no text and cannot be sent."""
    return name.encode(errors="replace").decode()


def check_name(name: str) -> str:
    """Return a plain file name; refuse what some system keeps differently, or hides."""
    bad = set(name) & FORBIDDEN or "/" in name or any(ord(character) < 32 or ord(character) == 127 for character in name)
    if not name or bad or name.startswith((".", " ", "~")) or name.endswith((".", " ")):
        raise refused(400, f"{name[:80]!r} is not a plain file name.", "Use letters, digits, spaces, - and _.")
    if RESERVED.fullmatch(name):
        raise refused(400, f"{name[:80]!r} is a name that Windows keeps for itself.", "Choose another name.")
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES or not name.isprintable():
        raise refused(400, "The name is too long, or cannot be printed.", "Choose a shorter, plain name.")
    return name


def open_inside(folder: Path, path: str) -> BufferedReader:
    """Open a file below `folder`, links followed; refuse what leads out of it or is not there."""
    workspace = Workspace(folder)
    return _opened(workspace, workspace.resolve(path))


def _opened(workspace: Workspace, place: Path) -> BufferedReader:
    try:
        return workspace.open(str(place))
    except (PathRefused, OSError):
        raise refused(404, f"There is no file {place.name[:200]!r}.") from None
