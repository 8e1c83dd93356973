"""The one reader of users' text files, in any encoding."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.opening import read_regular

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does, so it is tried first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte-order marks and their encodings."""
NAMES = {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "cp1252": "Windows-1252"}
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
FOREIGN = re.compile(rb"[\x80-\xff]{4}")
"""Western text has single accents; Cyrillic, Chinese or Japanese text in other encodings has runs of such bytes."""
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class TextFile:
    """The text of a file, and its encoding if that was guessed."""

    text: str
    guess: str = ""
    """The guessed encoding; empty when it is certain."""


def read_text(path: Path, *, field: str, read: Callable[[Path], bytes] = read_regular) -> TextFile:
    """Return the text of a file; raise InputError, naming the file, when its encoding cannot be detected."""
    if path.stat().st_size > MAX_BYTES:
        message = f"{path.name} has more than {MAX_BYTES / 2**20:.0f} MiB, which is too much for text."
        raise InputError(message, field=field, remedy="Move it elsewhere.")
    content = read(path)
    mark, encoding = next(((mark, name) for mark, name in MARKS if content.startswith(mark)), (b"", ""))
    guess = "" if encoding else _guessed(content)
    try:
        text = content.removeprefix(mark).decode(encoding or guess or "utf-8")
    except ValueError:
        text = "\0"
    if "\0" in text or (guess and CONTROLS.search(text)):
        remedy = "Save it as UTF-8."
        raise InputError(f"the encoding of {path.name} cannot be told.", field=field, remedy=remedy)
    return TextFile(text.replace("\r\n", "\n").replace("\r", "\n"), NAMES.get(guess, ""))


def _guessed(content: bytes) -> str:
    """Return the likeliest encoding of text without a byte-order mark; empty for UTF-8, or when none is likely."""
    if 0 in content:  # every second byte of plain letters in UTF-16
        return "utf-16-le" if content[1::2].count(0) > content[0::2].count(0) else "utf-16-be"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        damaged = not content.decode("utf-8", "ignore").isascii()  # UTF-8 with some bytes lost
        return "" if damaged or FOREIGN.search(content) else "cp1252"
    return ""


def guess_warnings(files: dict[str, str]) -> list[str]:
    """Return one warning for each guessed encoding; `files` holds the encodings by file name."""
    sentences: list[str] = []
    for guess in sorted(set(files.values())):
        names = some([name for name, found in files.items() if found == guess])
        sentences.append(f"{names} read as {guess}, which is a guess: save as UTF-8 what looks wrong.")
    return sentences


def some(names: list[str], shown: int = 3) -> str:
    """Return the first of several names and the number of others, with the verb: `a.txt is`, `a.txt, b.txt are`."""
    more = f" and {len(names) - shown} more" if names[shown:] else ""
    return f"{', '.join(names[:shown])}{more} {'are' if names[1:] else 'is'}"
