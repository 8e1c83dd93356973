"""MergeModelStock."""

from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.merges import OfOneKind, merged


class MergeModelStock(OfOneKind, Node):
    """Average checkpoints trained from one base, and pull each tensor towards the base the less they agree; nothing to set."""

    synonyms: ClassVar[tuple[str, ...]] = ("model stock", "geometric average")
    version: ClassVar[int] = 3

    def check(self, wired: Wired) -> None:
        _check_count(len(wired["models"]))

    def run(self, base: Checkpoint, models: list[Checkpoint], context: RunContext) -> Checkpoint:
        """`models` were trained from `base`."""
        _check_count(len(models))
        return merged("model stock", [base, *models], (1.0,), context)


def _check_count(count: int) -> None:
    if count < 2:
        raise InputError("at least two models are compared.", field="models", remedy="Wire another one here.")
