"""ImageGrid."""

from typing import Annotated

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.values import GeneratedImage, ImageSet


class ImageGrid(Node):
    """Put pictures into one, a row for each model and a column for each prompt, with their names."""

    cell_size: Annotated[int, Field(ge=32, le=2048)] = 144
    """Side of one picture in the grid, in pixels."""

    def run(self, images: list[ImageSet], context: RunContext) -> ImageSet:
        from PIL import Image

        from nodes.diffusion.grids import draw_grid
        from nodes.diffusion.pictures import save_png

        columns = max(part.columns for part in images)
        rows = [part.images[at : at + columns] for part in images for at in range(0, len(part.images), columns)]
        labels = [row[0].label.replace(" + ", "\n+ ") for row in rows]
        captions = [image.prompt for image in rows[0]]
        blank = Image.new("RGB", (self.cell_size, self.cell_size), "white")
        pictures: list[Image.Image] = []
        for row in rows:
            for image in row:
                with Image.open(image.file) as opened:
                    pictures.append(opened.convert("RGB"))
            pictures += [blank] * (columns - len(row))
        grid = draw_grid(pictures, columns, labels, captions, self.cell_size)
        file = context.add_file(".png", lambda path: save_png(grid, path))
        return ImageSet((GeneratedImage(file, "grid", "", images[0].images[0].seed),), columns=1)
