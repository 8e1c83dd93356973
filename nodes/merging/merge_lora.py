"""MergeLoRA."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel
from nodes.merging.loras import loras_of, shapes_of
from nodes.merging.merge_weighted import numbers


class MergeLoRA(Node):
    """Put all LoRAs of the models that are wired into one, which acts as they do together.

    The strengths that LoadLoRA gave them count. A DoRA cannot be merged: bake it instead.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("combine LoRAs", "add LoRAs", "concatenate", "SVD merge")

    weights: Annotated[str, AfterValidator(numbers)] = ""
    """One number for each LoRA, as `1, 0.5`, times its own strength; empty takes 1 for all."""
    rank: Annotated[int, Field(ge=0, le=4096)] = 0
    """Inner dimension of the result, at most; 0 sets the matrices side by side, which is exact, and adds their ranks up."""

    def run(self, models: list[DiffusionModel], context: RunContext) -> DiffusionModel:
        """The first of `models` gets the merged LoRA in place of its own."""

        loras, first = loras_of(models, "models"), models[0]
        weights = [float(part) for part in self.weights.split(",")] if self.weights.strip() else [1.0] * len(loras)
        if len(weights) != len(loras):
            message = f"there are {len(weights)} weights for {len(loras)} LoRAs."
            raise InputError(message, field="weights", remedy="Give one number for each LoRA, in the order of the wires.")
        if any(model.family != first.family for model in models):
            raise InputError("the LoRAs are for different families.", field="models", remedy="Wire models of one family.")
        maker, shapes = diffusion.merging.LoraMaker(), shapes_of(first, context)
        terms = [diffusion.merging.Weighted(lora, weight) for lora, weight in zip(loras, weights, strict=True)]
        with diffusion.merging.reading() as reader:
            cut = (self.rank, 1.0) if self.rank else None
            layers = diffusion.merging.summed(terms, shapes, cut, reader, context.progress, "models")
            made = maker.made(" + ".join(lora.label for lora in loras), layers, context.add_file)
        if not maker.targets:
            raise InputError("nothing is left of the LoRAs.", field="weights", remedy="Give one of them another weight than 0.")
        if self.rank and maker.squares:
            context.message(f"rank {made.rank} holds {1 - maker.lost / maker.squares:.1%} of the squared change.")
        kept = tuple(adapter for adapter in first.adapters if not isinstance(adapter, LowRankAdapter))
        return replace(first, adapters=(*kept, made))
