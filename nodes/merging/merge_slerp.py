"""MergeSlerp."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeSlerp(OfOneKind, Node):
    """Go from one checkpoint to another on an arc, tensor by tensor, so that the tensors in between do not shrink."""

    synonyms: ClassVar[tuple[str, ...]] = ("slerp", "spherical interpolation")
    version: ClassVar[int] = 3

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far to go: 0 gives a, 1 gives b, bit for bit."""

    def run(self, a: Checkpoint, b: Checkpoint, context: RunContext) -> Checkpoint:
        return merged("slerp", [a, b], (self.ratio,), context, ("a", "b"))
