"""Pictures in a grid with words, quiet enough to look at the pictures."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

INK, QUIET, PAPER = "#1c1f24", "#6b7280", "#ffffff"
GAP = 6


def draw_grid(
    pictures: Sequence[Image.Image], columns: int, row_labels: Sequence[str], captions: Sequence[str], cell: int
) -> Image.Image:
    """Return the pictures in rows of `columns`, each in a square of `cell` pixels, rows named at the left, captions on top."""
    font = ImageFont.load_default(max(10, cell // 9))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    left = max((_width(line, font) for label in row_labels for line in label.split("\n")), default=0) + 2 * GAP
    wrapped = [_wrapped(caption, font, cell) for caption in captions]
    line_height = round(font.size * 1.25)
    top = max((len(lines) for lines in wrapped), default=0) * line_height + 2 * GAP
    sheet = Image.new("RGB", (left + columns * (cell + GAP) + GAP, top + len(rows) * (cell + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, lines in enumerate(wrapped):
        for number, line in enumerate(lines):
            y = top - GAP - (len(lines) - number) * line_height
            pen.text((left + column * (cell + GAP) + cell // 2, y), line, QUIET, font, anchor="ma")
    for number, row in enumerate(rows):
        y = top + number * (cell + GAP)
        if number < len(row_labels):
            pen.multiline_text((left - GAP, y + cell // 2), row_labels[number], INK, font, anchor="rm", align="right")
        for column, picture in enumerate(row):
            sheet.paste(_fitted(picture, cell), (left + column * (cell + GAP), y))
    return sheet


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    """The whole picture, centered in its square."""
    scale = cell / max(picture.size)
    resized = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
    )
    square = Image.new("RGB", (cell, cell), PAPER)
    square.paste(resized, ((cell - resized.width) // 2, (cell - resized.height) // 2))
    return square


def _width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return round(font.getlength(text))


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a caption into at most three lines of a width; what is left over is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer, font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > 3:
        lines = [*lines[:2], lines[2] + "..."]
    return [_cut(line, font, width) for line in lines if line]


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while _width(text, font) > width and len(text) > 1:
        text = text.rstrip(".")[:-1].rstrip() + "..." if len(text) > 4 else text[:-1]
    return text
