"""Captions that come with pictures: in a file beside each, or in a table of the folder (Hugging Face imagefolder)."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.text_files import TextFile, guess_warnings, read_text, some
from nodes.diffusion.pictures.picture_folders import CAPTIONS, TABLES, PictureFolder

TEXT_COLUMNS = ("text", "caption", "prompt", "label")


@dataclass
class Captions:
    """The captions of a folder's pictures, by the picture's path below the folder."""

    texts: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    """The file beside each picture, of those that have one."""
    guesses: dict[str, str] = field(default_factory=dict[str, str])
    """The encoding that was guessed, by the path of the file below the folder."""
    notes: list[str] = field(default_factory=list[str])
    """Further notes for the user."""
    problems: dict[str, InputError] = field(default_factory=dict[str, InputError])
    """By picture, the error of an unreadable file beside it."""

    def all_notes(self) -> list[str]:
        """Return all notes for the user."""
        return [*guess_warnings(self.guesses), *self.notes]


def read_captions(found: PictureFolder) -> Captions:
    """Return captions from tables and from files beside the pictures, which win; raise InputError for an invalid table."""
    captions = Captions()
    for table in found.texts:
        if table.name in TABLES:
            _read_table(table, found, captions)
    beside = {path.with_name(path.name.lower()): path for path in found.texts} | {path: path for path in found.texts}
    second: list[str] = []
    alone = {path for path in found.texts if path.name not in TABLES}
    for picture in found.pictures:
        places = dict.fromkeys(place for name in _names(picture) if (place := _place(picture.with_name(name), beside)))
        if places:
            file, *others = places
            captions.files[found.name(picture)] = file
            try:
                captions.texts[found.name(picture)] = _read(file, found, captions).text.strip()
            except InputError as error:
                captions.problems[found.name(picture)] = error
            second += [found.name(other) for other in others]
            alone -= places.keys()
    if second:
        captions.notes.append(f"{some(second)} not read: another file is the caption of the same picture.")
    if alone:
        captions.notes.append(f"{some(sorted(map(found.name, alone)))} no caption: no picture of that name is read.")
    return captions


def _names(picture: Path) -> Iterator[str]:
    """Yield the names of a picture's caption file: for `a.png`, `a.txt`, `a.caption`, `a.png.txt` and `a.png.caption`."""
    yield from (picture.stem + end for end in CAPTIONS)
    yield from (picture.name + end for end in CAPTIONS)


def _place(wanted: Path, beside: dict[Path, Path]) -> Path | None:
    """Return the file of this name, or one that differs in case alone."""
    return beside.get(wanted) or beside.get(wanted.with_name(wanted.name.lower()))


def _read(file: Path, found: PictureFolder, captions: Captions) -> TextFile:
    try:
        read = read_text(file, field="folder", read=found.read)
    except OSError as error:
        remedy = "Change its permissions, or move it elsewhere."
        raise InputError(f"{file.name} cannot be read: {error.strerror or error}.", field="folder", remedy=remedy) from None
    if read.guess:
        captions.guesses[found.name(file)] = read.guess
    return read


def _read_table(table: Path, found: PictureFolder, captions: Captions) -> None:
    read = _read(table, found, captions)
    rows = list(_csv_rows(read.text, table) if table.suffix == ".csv" else _json_rows(read.text, table))
    folder = PurePosixPath(found.name(table)).parent
    known, absent = {found.name(picture) for picture in found.pictures}, list[str]()
    for row in rows:
        name = (folder / str(row["file_name"])).as_posix()
        caption = next((str(row[column]) for column in TEXT_COLUMNS if row.get(column) is not None), None)
        if name not in known:
            absent.append(name)
        elif caption is not None:
            captions.texts[name] = caption.strip()
    if absent:
        captions.notes.append(f"{found.name(table)} names what is not among the pictures: {some(absent)} not there.")
    if rows and not any(column in row for row in rows for column in TEXT_COLUMNS):
        columns = ", ".join(TEXT_COLUMNS)
        captions.notes.append(f"{found.name(table)} gives no captions: it has none of the columns {columns}.")


def _json_rows(text: str, table: Path) -> Iterator[dict[str, Any]]:
    # A JSON string may hold other line breaks, such as U+2028, unescaped: `splitlines` would cut there.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or "file_name" not in row:
            message = f"line {number} of {table.name} is not a JSON object with a file_name."
            raise InputError(message, field="folder", remedy="Mend or remove the line.")
        yield row


def _csv_rows(text: str, table: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows by column; columns may be separated by semicolons or tabs, as some spreadsheets write them."""
    header = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        if "file_name" not in (rows.fieldnames or ()):
            message = f"{table.name} has no column file_name."
            raise InputError(message, field="folder", remedy="Name the columns in the first line: file_name,text.")
        yield from (row for row in rows if row["file_name"])
    except csv.Error as error:
        message = f"line {rows.line_num} of {table.name} is not CSV: {error}."
        raise InputError(message, field="folder", remedy="Mend the line.") from None
