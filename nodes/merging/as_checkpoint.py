"""AsCheckpoint."""

from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.diffusion.merging.plan import planned
from nodes.merging.merges import checkpoint_of


class AsCheckpoint(Node):
    """Let a model of this graph take part in a merge: as it was loaded, or with the weights that FineTune gave it."""

    synonyms: ClassVar[tuple[str, ...]] = ("merge a trained model", "model to checkpoint")

    def run(self, model: DiffusionModel, context: RunContext) -> Checkpoint:
        checkpoint = checkpoint_of(model)
        planned(checkpoint.recipe, context.locate)
        return checkpoint
