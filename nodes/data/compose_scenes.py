"""ComposeScenes."""

import random
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import CaptionedDataset, ImageDataset, Picture, View

if TYPE_CHECKING:
    from PIL.Image import Image


class ComposeScenes(Node):
    """Set cut-out pictures on backgrounds, alone or two beside each other, larger and smaller, and say so in captions.

    A model that is trained on them learns that an object is not its place, its size or what lies behind it. Pictures come
    from LoadImages with transparent surroundings; their text is what they show, and the folder that each lies in its style.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("augmentation", "synthetic data", "cutouts", "compositing", "backgrounds")

    scenes_per_picture: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Scenes in which each picture is the first object."""
    resolution: Annotated[int, Field(ge=32, le=4096, multiple_of=8)] = 128
    """Side of a scene in pixels."""
    as_is: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of scenes with one object that show it as its picture does: as large, in the middle, not mirrored. A small model
    learns an object sooner when it sees it so most of the time."""
    colored: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of scenes with a colored background, which the caption names."""
    two_objects: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of scenes that show two objects of one style."""
    other_styles: str = ""
    """Words that take the style's place in some captions, with commas between: later trainings can then teach a new word
    without losing the object."""
    other_style: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the captions with a style that name one of those words; an eighth of all captions names no style."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of draws that train without a caption, which keeps guidance strong; 0.1 is usual."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses everything about the scenes."""

    def run(self, images: ImageDataset, context: RunContext) -> CaptionedDataset:
        _check_texts(images)
        others = tuple(word.strip() for word in self.other_styles.split(",") if word.strip())
        drawn: list[tuple[Picture, str]] = []
        total = len(images.pictures) * self.scenes_per_picture
        cutout = lru_cache(maxsize=64)(lambda picture: _cutout(picture, self.resolution, context))
        for picture in images.pictures:
            for number in range(self.scenes_per_picture):
                draw = random.Random(f"{self.seed} {picture.name} {number}")
                shown = [picture, *self._second(picture, images, draw)]
                scene = diffusion.pictures.draw_scene(
                    [cutout(one) for one in shown],
                    self.resolution,
                    as_is=self.as_is,
                    colored=self.colored,
                    other_styles=others,
                    other_style=self.other_style,
                    draw=draw,
                )
                drawn.append((self._kept(scene.image, f"{picture.name}/{number}", picture.repeats, context), scene.caption))
                context.progress(len(drawn), total)
        pictures = tuple(picture for picture, _ in drawn)
        return CaptionedDataset(pictures, captions=tuple((text,) for _, text in drawn), caption_dropout=self.caption_dropout)

    def _second(self, first: Picture, images: ImageDataset, draw: random.Random) -> list[Picture]:
        """Another object of the same style, in some scenes."""
        if draw.random() >= self.two_objects:
            return []
        others = [one for one in images.pictures if _style(one) == _style(first) and one.text != first.text]
        return [draw.choice(others)] if others else []

    def _kept(self, image: "Image", name: str, repeats: int, context: RunContext) -> Picture:
        file = context.add_file(".png", lambda path: diffusion.pictures.save_png(image, path))
        size = (self.resolution, self.resolution)
        return Picture(file.stem, name, *size, (View(size, (0, 0), size),), repeats=repeats, file=file)


def _check_texts(images: ImageDataset) -> None:
    without = [picture.name for picture in images.pictures if not picture.text]
    if without:
        remedy = "Say in metadata.jsonl, or in a .txt file beside each, what it shows."
        raise InputError(f"{len(without)} pictures have no text, such as {without[0]}.", field="images", remedy=remedy)


def _style(picture: Picture) -> str:
    """The folder that it lies in, without the count of a kohya folder `<repeats>_<name>`."""
    return PurePosixPath(picture.name).parent.name.removeprefix(f"{picture.repeats}_")


def _cutout(picture: Picture, side: int, context: RunContext) -> "diffusion.pictures.Cutout":

    image = diffusion.pictures.cutout_of(picture, context.open, side)
    return diffusion.pictures.Cutout(image, picture.text or "", _style(picture))
