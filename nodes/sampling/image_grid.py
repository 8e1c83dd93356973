"""ImageGrid."""

from itertools import chain
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.handles.results import GeneratedImage, ImageSet


class ImageGrid(Node):
    """Put pictures into one, a row for each model and a column for each prompt, with their names."""

    synonyms: ClassVar[tuple[str, ...]] = ("XY plot", "contact sheet", "compare")

    cell_size: Annotated[int, Field(ge=32, le=2048)] = 144
    """Side of one picture in the grid, in pixels."""

    def run(self, images: list[ImageSet], context: RunContext) -> ImageSet:
        found = list(chain.from_iterable(_rows(part) for part in images))
        rows = [
            diffusion.pictures.Row(
                row[0].label, [image.prompt for image in row], [diffusion.pictures.open_picture(image.file) for image in row]
            )
            for row in found
        ]
        grid = diffusion.pictures.draw_grid(rows, self.cell_size)
        file = context.add_file(".png", lambda path: diffusion.pictures.save_png(grid, path))
        return ImageSet((GeneratedImage(file, "grid", "", found[0][0].seed),), columns=1)


def _rows(part: ImageSet) -> list[tuple[GeneratedImage, ...]]:
    return [part.images[start : start + part.columns] for start in range(0, len(part.images), part.columns)]
