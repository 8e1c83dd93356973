"""MergeTies."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeTies(OfOneKind, Node):
    """Merge what several checkpoints learned from one base: small changes dropped, signs elected."""

    synonyms: ClassVar[tuple[str, ...]] = ("TIES", "trim elect merge")
    version: ClassVar[int] = 3

    density: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of each difference that is kept, the largest changes first."""
    strength: Annotated[float, Field(ge=-5, le=5)] = 1.0
    """How much of the merged difference is added to the base; below 0 it is taken away."""

    def run(self, base: Checkpoint, models: list[Checkpoint], context: RunContext) -> Checkpoint:
        """`models` were trained from `base`."""
        return merged("ties", [base, *models], (self.strength,), context, density=self.density)
