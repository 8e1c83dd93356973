"""XYGrid."""

from textwrap import wrap
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Prompt
from graph_runtime.sweeps import lines_of
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.results import GeneratedImage, ImageSet

LABEL_WIDTH, LABEL_LINES = 24, 4
Cells = list[tuple[GeneratedImage, ...]]
"""The pictures of every combination, row by row."""


class XYGrid(Node):
    """Draw every combination of the values of one or two fields of any nodes upstream, as a grid with their names.

    What does not depend on these fields is computed once; what does is computed for every combination, trainings too.
    Several pictures of a combination, of several prompts for example, make a grid each.
    """

    display_name: ClassVar[str] = "XY grid"
    synonyms: ClassVar[tuple[str, ...]] = ("XY plot", "sweep", "parameter study", "hyperparameters", "compare", "grid search")
    sweeps: ClassVar[tuple[tuple[str, str], ...]] = (("x", "x_values"), ("y", "y_values"))

    x: str
    """The field that changes from column to column, as `node.field`: `sample.guidance_scale` for example."""
    x_values: Prompt
    """Its values from left to right, one per line."""
    y: str = ""
    """The field that changes from row to row, as `node.field`; empty for a single row."""
    y_values: Prompt = ""
    """Its values from top to bottom, one per line."""
    cell_size: Annotated[int, Field(ge=32, le=2048)] = 144
    """Side of one picture in the grid, in pixels."""

    def run(self, images: list[ImageSet], context: RunContext) -> ImageSet:
        columns, rows = _labels(self.x, self.x_values, self.y), _labels(self.y, self.y_values, self.x)
        cells = _cells(images, len(columns) * len(rows))
        if len(set(map(len, cells))) > 1:
            counts = ", ".join(str(len(cell)) for cell in cells[:12])
            remedy = "Sweep a field that leaves the number of pictures as it is."
            raise InputError(f"the combinations have different numbers of pictures: {counts}.", field="x", remedy=remedy)
        grids = [self._drawn([cell[n] for cell in cells], columns, rows, context) for n in range(len(cells[0]))]
        return ImageSet(tuple(grids), columns=len(grids))

    def _drawn(self, images: list[GeneratedImage], columns: list[str], rows: list[str], context: RunContext) -> GeneratedImage:
        """Draw one picture of every combination."""

        pictures = [diffusion.pictures.open_picture(image.file) for image in images]
        width = len(columns)
        lines = [
            diffusion.pictures.Row(_folded(label), columns, pictures[n * width : (n + 1) * width]) for n, label in enumerate(rows)
        ]
        grid = diffusion.pictures.draw_grid(lines, self.cell_size)
        file = context.add_file(".png", lambda path: diffusion.pictures.save_png(grid, path))
        return GeneratedImage(file, "grid", _common([image.prompt for image in images]), images[0].seed)


def _cells(images: list[ImageSet], count: int) -> Cells:
    """Share the sets out among the combinations, which arrive one after the other."""
    share, rest = divmod(len(images), count)
    if rest or not share:
        message = f"{len(images)} sets of pictures are no {count} combinations."
        raise InputError(message, field="images", remedy="Run the workflow that the node stands in.")
    parts = [images[start : start + share] for start in range(0, len(images), share)]
    return [tuple(image for part in each for image in part.images) for each in parts]


def _labels(target: str, values: str, other: str) -> list[str]:
    """Return what the rows or columns are called: after the field, or with its node where both fields have one name."""
    field, same = target.strip().rpartition(".")[2], other.strip().rpartition(".")[2]
    name = target.strip() if field == same else field
    return [f"{name} = {value}" for value in lines_of(values)] or [""]


def _folded(label: str) -> str:
    return "\n".join(wrap(label, LABEL_WIDTH, max_lines=LABEL_LINES, placeholder=" ..."))


def _common(prompts: list[str]) -> str:
    return prompts[0] if len(set(prompts)) == 1 else ""
