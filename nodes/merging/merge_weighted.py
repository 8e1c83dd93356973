"""MergeWeighted."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


def numbers(text: str) -> str:
    """Return a text of numbers with commas between them; raise ValueError for another."""
    try:
        fits = all(abs(float(part)) < 1000 for part in text.split(",")) if text.strip() else True
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("weights must be numbers below 1000, with commas between them")
    return text


class MergeWeighted(OfOneKind, Node):
    """Average checkpoints: (1 - ratio) of the first plus ratio of the second, or any number of them with weights."""

    synonyms: ClassVar[tuple[str, ...]] = ("weighted sum", "average", "model soup", "checkpoint merger")
    version: ClassVar[int] = 3

    ratio: Annotated[float, Field(ge=-5, le=5)] = 0.5
    """Share of the second of two: 0 gives the first, 1 the second, bit for bit. From -5 to 5: those
    below 0 and above 1 extrapolate, 1.5 to the second plus half of (second - first), -0.5 to the first minus as much."""
    weights: Annotated[str, AfterValidator(numbers)] = ""
    """One number for each wire, as `0.5, 0.3, 0.2`, used as they are, whatever their sum and
    also below 0; empty takes `ratio` for two and equal shares for more."""

    def check(self, wired: Wired) -> None:
        self._weights(len(wired["models"]))

    def run(self, models: list[Checkpoint], context: RunContext) -> Checkpoint:
        return merged("weighted", models, self._weights(len(models)), context)

    def _weights(self, count: int) -> tuple[float, ...]:
        if count < 2:
            raise InputError("a merge needs at least two checkpoints.", field="models", remedy="Wire another one here.")
        if not self.weights.strip():
            return (1 - self.ratio, self.ratio) if count == 2 else (1 / count,) * count
        weights = tuple(float(part) for part in self.weights.split(","))
        if len(weights) != count:
            message = f"there are {len(weights)} weights for {count} checkpoints."
            raise InputError(message, field="weights", remedy="Give one number for each wire.")
        return weights
