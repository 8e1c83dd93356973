"""Pictures in a grid with words, quiet enough to look at the pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, QUIET, PAPER = "#1c1f24", "#5b6270", "#ffffff"
GAP, MARGIN = 6, 18
MAX_LINES = 3


@dataclass(frozen=True)
class Row:
    """Pictures beside each other, the name of what made them, and a caption for each."""

    label: str
    captions: Sequence[str]
    pictures: Sequence[Image.Image]


def draw_grid(rows: Sequence[Row], cell: int) -> Image.Image:
    """Return one picture: every row named at its left, every picture in a square of `cell` pixels, captions beneath.

    Rows with the same captions share those beneath the last of them; neighbors with the same caption share one.
    """
    font = ImageFont.load_default(min(32, max(11, cell // 9)))
    labels = [row.label.replace(" + ", "\n+ ") for row in rows]
    names = max((font.getlength(line) for label in labels for line in label.split("\n")), default=0)
    left = MARGIN + (round(names) + 2 * GAP if names else 0)
    blocks = [_caption_lines(row.captions, font, cell) if _is_last(rows, at) else [] for at, row in enumerate(rows)]
    heights = [cell + GAP + _text_height(block, font) for block in blocks]
    columns = max(len(row.pictures) for row in rows)
    width, height = left + columns * (cell + GAP) - GAP + MARGIN, 2 * MARGIN + sum(heights) - 2 * GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    y = MARGIN
    for row, label, block, row_height in zip(rows, labels, blocks, heights, strict=True):
        pen.multiline_text((left - 2 * GAP, y + cell // 2), label, INK, font, anchor="rm", align="right")
        for column, picture in enumerate(row.pictures):
            sheet.paste(_fitted(picture, cell), (left + column * (cell + GAP), y))
        for center, number, line in block:
            pen.text((left + center, y + cell + GAP + number * _line_height(font)), line, QUIET, font, anchor="ma")
        y += row_height
    return sheet


def _is_last(rows: Sequence[Row], at: int) -> bool:
    """Return whether the next row shows something else."""
    return at + 1 == len(rows) or list(rows[at + 1].captions) != list(rows[at].captions)


def _caption_lines(captions: Sequence[str], font: Font, cell: int) -> list[tuple[int, int, str]]:
    """Return every line of every caption: center in pixels, number of the line, text."""
    return [
        (start * (cell + GAP) + width // 2, number, line)
        for start, width, caption in _spans(captions, cell)
        for number, line in enumerate(_wrapped(caption, font, width))
    ]


def _spans(captions: Sequence[str], cell: int) -> Iterator[tuple[int, int, str]]:
    """Yield (first column, width in pixels, caption) for each run of equal captions."""
    start = 0
    for caption, equal in groupby(captions):
        count = len(list(equal))
        yield start, count * (cell + GAP) - GAP, caption
        start += count


def _text_height(block: Sequence[tuple[int, int, str]], font: Font) -> int:
    lines = max((number + 1 for _, number, _ in block), default=0)
    return lines * _line_height(font) + 2 * GAP if lines else 0


def _line_height(font: Font) -> int:
    return round(1.1 * sum(font.getmetrics())) if isinstance(font, ImageFont.FreeTypeFont) else 14


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    """Return the whole picture, centered in its square."""
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new("RGB", (cell, cell), PAPER)
    square.paste(picture.resize(size, Image.Resampling.LANCZOS), ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return square


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Break a caption into lines of a width; dots stand for what does not fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], lines[MAX_LINES - 1] + "..."]
    return [_cut(line, font, width) for line in lines if line]


def _cut(text: str, font: Font, width: int) -> str:
    while font.getlength(text) > width and len(text) > 4:
        text = text.removesuffix("...")[:-1].rstrip() + "..."
    return text
