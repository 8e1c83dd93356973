"""MergeTrainDifference."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeTrainDifference(OfOneKind, Node):
    """Give a checkpoint what another learned (b - c), number by number as far as it lacks it, as if it had been trained so.

    Unlike MergeAddDifference it adds little where a has already gone the way of b, so several can be added in a row.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("trainDifference", "train difference", "supermerger", "add difference")
    version: ClassVar[int] = 3

    strength: Annotated[float, Field(ge=-5, le=5)] = 1.0
    """How much is added; below 0 it is taken away."""

    def run(self, a: Checkpoint, b: Checkpoint, c: Checkpoint, context: RunContext) -> Checkpoint:
        """`b` was trained from `c`."""
        return merged("train difference", [a, b, c], (self.strength,), context, ("a", "b", "c"))
