"""Scenes made of cut-out pictures, and their captions."""

import random
from dataclasses import dataclass

from PIL import Image

COLORS = {
    "red": (222, 58, 52), "orange": (247, 148, 46), "yellow": (250, 214, 64), "green": (64, 168, 84), "teal": (36, 156, 158),
    "light blue": (168, 214, 248), "blue": (58, 108, 226), "purple": (138, 82, 196), "pink": (248, 152, 190),
    "brown": (138, 92, 58), "gray": (150, 150, 154), "black": (22, 22, 26),
}  # fmt: skip
"""Backgrounds by name, as (r, g, b)."""
WITH_STYLE = ("{style} style {what}", "{style} style {what}", "{what}, {style} style", "a {style} style picture of {what}")
WITHOUT_STYLE = ("{what}", "a picture of {what}")
ALONE = ((0.84, 1.0), (0.55, 0.84))
"""Lengths of an object that is alone, as shares of the picture's side: mostly large, sometimes smaller."""
BESIDE = (0.46, 0.56)
"""Lengths of objects beside each other."""


@dataclass(frozen=True)
class Cutout:
    """A picture with transparent surroundings, what it shows, and in which style."""

    image: Image.Image
    label: str
    style: str


@dataclass(frozen=True)
class Scene:
    image: Image.Image
    caption: str


def draw_scene(
    objects: list[Cutout],
    side: int,
    *,
    as_is: float,
    colored: float,
    other_styles: tuple[str, ...],
    other_style: float,
    draw: random.Random,
) -> Scene:
    """Return one or two cut-outs on a background of `side` pixels, each mirrored or not, and the caption.

    `as_is` is the chance that one alone fills the scene as its picture shows it; `colored` that of a background that is not
    white, and is then named; `other_style` that of a caption with one of `other_styles` instead of the true one, which loosens
    objects from style words.
    """
    name = draw.choice(list(COLORS)) if draw.random() < colored else ""
    picture = Image.new("RGBA", (side, side), (*(_near(COLORS[name], draw) if name else (255, 255, 255)), 255))
    if as_is and len(objects) == 1 and draw.random() < as_is:
        shown = _sized(objects[0].image, side)
        picture.alpha_composite(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    else:
        _place(picture, objects, draw)
    style = draw.choice(other_styles) if other_styles and draw.random() < other_style else objects[0].style
    what = " and ".join(cutout.label for cutout in objects)
    pattern = draw.choice(WITH_STYLE if draw.random() < 0.88 and style else WITHOUT_STYLE)
    caption = pattern.format(style=style, what=what) + (f" on a {name} background" if name else "")
    return Scene(picture.convert("RGB"), caption)


def _place(picture: Image.Image, objects: list[Cutout], draw: random.Random) -> None:
    """Set objects beside each other, each somewhere in its part of the picture."""
    side = picture.width
    for number, cutout in enumerate(objects):
        shown = _sized(cutout.image, side * draw.uniform(*(BESIDE if len(objects) > 1 else ALONE[draw.random() < 0.4])))
        if draw.random() < 0.5:
            shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        room = side // len(objects) - shown.width
        left = number * (side // len(objects)) + (draw.randint(0, room) if room > 0 else room // 2)
        picture.alpha_composite(shown, (max(0, min(left, side - shown.width)), draw.randint(0, side - shown.height)))


def _sized(image: Image.Image, length: float) -> Image.Image:
    """Return a picture whose longer side is `length` pixels."""
    width, height = (max(1, round(length * own / max(image.size))) for own in image.size)
    return image.convert("RGBA").resize((width, height), Image.Resampling.LANCZOS)


def _near(color: tuple[int, int, int], draw: random.Random) -> tuple[int, int, int]:
    """Return a random shade near a color."""
    red, green, blue = (max(0, min(255, round(value + draw.gauss(0, 8)))) for value in color)
    return red, green, blue
