"""Folders of pictures with captions, as people keep them: which files count, and which text belongs to which picture."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
TEXT_COLUMNS = ("text", "caption", "prompt", "label")


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder and of the folders inside it, hidden ones left out, in order."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    return [path for path in found if not _hidden(path, folder)]


def caption_texts(folder: Path, pictures: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield (picture name, caption) from metadata.jsonl files, then from `.txt` files, which win."""
    for table in sorted(folder.rglob("metadata.jsonl")):
        if table.is_file() and table.resolve().is_relative_to(folder) and not _hidden(table, folder):
            yield from _table(table, folder)
    for path in pictures:
        beside = path.with_suffix(".txt")
        if beside.is_file() and beside.resolve().is_relative_to(folder):
            yield path.relative_to(folder).as_posix(), beside.read_text(encoding="utf-8-sig", errors="replace").strip()


def _table(table: Path, folder: Path) -> Iterator[tuple[str, str]]:
    text = table.read_text(encoding="utf-8-sig", errors="replace")
    # A JSON string may hold other line breaks, such as U+2028, unescaped: `splitlines` would cut there.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = _row(line, table, number)
            caption = next((str(row[column]) for column in TEXT_COLUMNS if row.get(column) is not None), None)
            if caption is not None:
                name = (table.parent.relative_to(folder) / str(row["file_name"])).as_posix()
                yield name, caption.strip()


def _row(line: str, table: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or "file_name" not in row:
        message = f"line {number} of {table.name} is not a JSON object with a file_name."
        raise InputError(message, field="folder", remedy="Mend or remove the line.")
    return row


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
