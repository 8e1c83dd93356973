"""MergeAddDifference."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeAddDifference(OfOneKind, Node):
    """Give a checkpoint what another learned: a + strength (b - c), where b was trained from c."""

    synonyms: ClassVar[tuple[str, ...]] = ("add difference", "task arithmetic", "inpainting", "transplant")
    version: ClassVar[int] = 3

    strength: Annotated[float, Field(ge=-5, le=5)] = 1.0
    """How much of the difference is added; below 0 it is taken away."""

    def run(self, a: Checkpoint, b: Checkpoint, c: Checkpoint, context: RunContext) -> Checkpoint:
        return merged("add difference", [a, b, c], (self.strength,), context, ("a", "b", "c"))
