"""MergeDare."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeDare(OfOneKind, Node):
    """Merge what several checkpoints learned from one base: of each a random part, scaled up."""

    synonyms: ClassVar[tuple[str, ...]] = ("DARE", "drop and rescale")
    version: ClassVar[int] = 3

    density: Annotated[float, Field(ge=0.01, le=1)] = 0.5
    """Chance of each changed number to be kept."""
    strength: Annotated[float, Field(ge=-5, le=5)] = 1.0
    """How much of the merged difference is added to the base; below 0 it is taken away."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Another seed keeps other numbers."""

    def run(self, base: Checkpoint, models: list[Checkpoint], context: RunContext) -> Checkpoint:
        """`models` were trained from `base`."""
        return merged("dare", [base, *models], (self.strength,), context, density=self.density, seed=self.seed)
