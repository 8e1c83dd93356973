"""AsCheckpoint."""

from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.adapters import WeightChange
from nodes.diffusion.errors import InputError
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.values import Checkpoint
from nodes.diffusion.values import DiffusionModel
from nodes.merging.merges import source_of


class AsCheckpoint(Node):
    """Let a model of this graph take part in a merge: as it was loaded, or with the weights that FineTune gave it."""

    synonyms: ClassVar[tuple[str, ...]] = ("merge a trained model", "model to checkpoint")

    def run(self, model: DiffusionModel, context: RunContext) -> Checkpoint:
        if not all(isinstance(change, WeightChange) and change.weights for change in model.adapters):
            remedy = "Wire a model as LoadModel or FineTune returns it; LoRAs take part by BakeLoRA."
            raise InputError(f"{model.name} has adapters besides trained weights.", field="model", remedy=remedy)
        source = source_of(model)
        planned(source, context.locate)
        return Checkpoint(source, model.family)
