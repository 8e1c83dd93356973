"""MergeCosine."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeCosine(OfOneKind, Node):
    """Average two checkpoints, but keep more of a in tensors in which the two are less alike."""

    synonyms: ClassVar[tuple[str, ...]] = ("cosine similarity", "weighted sum")
    version: ClassVar[int] = 3

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of b where both are alike; it falls to 0 where they are opposite."""

    def run(self, a: Checkpoint, b: Checkpoint, context: RunContext) -> Checkpoint:
        return merged("cosine", [a, b], (self.ratio,), context, ("a", "b"))
