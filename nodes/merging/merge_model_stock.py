"""MergeModelStock."""

from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.errors import InputError
from nodes.diffusion.merging.values import Checkpoint
from nodes.merging.merges import merged


class MergeModelStock(Node):
    """Average checkpoints trained from one base, and pull each tensor towards the base the less they agree; nothing to set."""

    synonyms: ClassVar[tuple[str, ...]] = ("model stock", "geometric average")

    def run(self, base: Checkpoint, models: list[Checkpoint], context: RunContext) -> Checkpoint:
        """`models` were trained from `base`."""
        if len(models) < 2:
            raise InputError("at least two models are compared.", field="models", remedy="Wire another one here.")
        return merged("model stock", [base, *models], (1.0,), context)
