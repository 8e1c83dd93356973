"""Reading of picture folders: the pictures, their repeats, and the files that are left out."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nodes.diffusion.formats.file_formats import format_of
from nodes.diffusion.formats.opening import open_regular, read_regular
from nodes.diffusion.formats.text_files import some
from nodes.diffusion.pictures.picture_kinds import picture_type, readable_suffixes, unread_because

CAPTIONS = (".txt", ".caption")
"""Suffixes of caption files; the first wins."""
TABLES = ("metadata.csv", "metadata.jsonl")
"""Names of tables of captions."""
NO_PICTURES = frozenset({".csv", ".json", ".jsonl", ".md", ".npz", ".parquet", ".toml", ".yaml", ".yml"})
MAX_REPEATS = 100
"""The largest number of repeats in `<repeats>_<name>`; a larger one is part of the name, as in `2019_summer`."""
REPEATS = re.compile(r"([0-9]+)_(.+)")
Resolve = Callable[[str], Path]
"""Resolves a path."""


@dataclass
class PictureFolder:
    """The pictures of a folder, and the files that are left out."""

    folder: Path
    pictures: list[Path] = field(default_factory=list[Path])
    texts: list[Path] = field(default_factory=list[Path])
    """Captions and tables of them."""
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Pictures and captions that are not read: the reason, by the path below the folder."""
    read: Callable[[Path], bytes] = read_regular
    """Reads a caption's file."""

    def name(self, path: Path) -> str:
        """Return the path below the folder, with forward slashes."""
        return path.relative_to(self.folder).as_posix()

    def leave_out(self, path: Path, reason: str) -> None:
        """Note why a file is not read, with question marks in its name for bytes that are no valid text."""
        self.left_out[self.name(path).encode(errors="replace").decode()] = reason


def read_folder(folder: Path, resolve: Resolve, read: Callable[[Path], bytes] = read_regular) -> PictureFolder:
    """Find the pictures and captions of a folder and its subfolders, in order; hidden ones are skipped.

    `resolve` raises ValueError for a link that may not be followed.
    """
    found = PictureFolder(folder, read=read)
    readable = readable_suffixes()
    for path in sorted(_files(folder, found, resolve)):
        suffix = path.suffix.lower()
        if not _is_text(found.name(path)) and suffix in (*readable, *CAPTIONS):
            found.leave_out(path, "its name is not text (UTF-8), so rename it")
        elif suffix in readable:
            found.pictures.append(path)
        elif suffix in CAPTIONS or path.name in TABLES:
            found.texts.append(path)
        elif reason := unread_because(path.name) or _unnamed(path, suffix):
            found.leave_out(path, reason)
    return found


def _files(folder: Path, found: PictureFolder, resolve: Resolve) -> Iterator[Path]:
    """Yield the regular files, following allowed links: each folder once, by its own name rather than by a link.

    Otherwise links to each other would never end, or take very long.
    """
    entered, links = set[Path](), [folder]
    for link in links:  # links inside the folders are appended
        yield from _real_files(link, found, resolve, entered, links)


def _real_files(folder: Path, found: PictureFolder, resolve: Resolve, entered: set[Path], links: list[Path]) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders; collect the links to other folders."""
    if (real := folder.resolve()) in entered:
        found.leave_out(folder, "it leads to a folder whose pictures count already")
        return
    entered.add(real)
    try:
        inside = sorted(folder.iterdir())
    except PermissionError:
        found.leave_out(folder, "it may not be read")
        return
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not _is_allowed(path, resolve):
            found.leave_out(path, "it is a link out of the workspace")
        elif path.is_dir():
            if path.is_symlink():
                links.append(path)
            else:
                yield from _real_files(path, found, resolve, entered, links)
        elif path.is_file():
            yield path
        elif path.suffix.lower() in (*readable_suffixes(), *CAPTIONS) or path.is_symlink():
            found.leave_out(path, "it is no regular file, nor a link to one")


def _is_allowed(link: Path, resolve: Resolve) -> bool:
    try:
        resolve(str(link))
    except ValueError:
        return False
    return True


def _is_text(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _unnamed(path: Path, suffix: str) -> str:
    """Return why a file that is a picture by content but not by name is not read; empty for others."""
    if suffix in NO_PICTURES or format_of(path):
        return ""
    try:
        with open_regular(path) as file:
            kind = picture_type(file.read(16))
    except OSError:
        return ""
    return f"it is a picture ({kind}) whose name does not say so, so rename it" if kind else ""


def left_out_warnings(left_out: dict[str, str]) -> list[str]:
    """Return a warning for each reason why files are left out."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{some(names)} left out: {reason}." for reason, names in by_reason.items()]


def folder_repeats(name: str, limit: int = MAX_REPEATS) -> tuple[int, str]:
    """Return the repeats in a folder's name, kohya's `<repeats>_<name>`, and the name without them."""
    match = REPEATS.fullmatch(name)
    if match is None or int(match[1]) > limit:
        return 1, name
    return max(1, int(match[1])), match[2]


def repeats_notes(pictures: list[str], limit: int) -> tuple[list[str], list[str]]:
    """Return notes and warnings about folders whose names begin with a number; `pictures` are paths in them."""
    texts, warned = list[str](), list[str]()
    for parent, count in sorted(Counter(name.rpartition("/")[0] for name in pictures).items()):
        *above, folder = parent.split("/")
        match, repeats = REPEATS.fullmatch(folder), folder_repeats(folder, limit)[0]
        if match and int(match[1]) > limit:
            warned.append(
                f"{parent} is taken for a name, so its pictures count once: raise max_repeats if {match[1]} is a count."
            )
        elif match and repeats > 1:
            texts.append(f"{parent}: {count} {'picture' if count == 1 else 'pictures'}, {repeats} times each.")
        elif outer := next((name for name in above if folder_repeats(name, limit)[0] > 1), ""):
            warned.append(f"{parent}: pictures count once, for {outer} repeats only those that lie directly in it.")
    return texts, warned
