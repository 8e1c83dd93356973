"""Shared code of nodes that calculate with LoRAs: their inputs, and the layers that these change."""

from collections import Counter

from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel


def loras_of(models: list[DiffusionModel], socket: str = "model") -> list[LowRankAdapter]:
    """Return the LoRAs of models, in order; raise InputError unless there is one and all are trained.

    What several models share is there once, what lies over one model twice is there twice.
    """
    counts: Counter[LowRankAdapter] = Counter()
    for model in models:
        counts |= Counter(adapter for adapter in model.adapters if isinstance(adapter, LowRankAdapter))
    found = list(counts.elements())
    if not found or any(lora.weights is None for lora in found):
        kind = "a LoRA that has not been trained" if found else "no LoRA"
        names = " and ".join(dict.fromkeys(model.name for model in models))
        raise InputError(f"{names} has {kind}.", field=socket, remedy="Put LoadLoRA or TrainLoRA before this node.")
    return found


def shapes_of(model: DiffusionModel, context: RunContext) -> dict[str, tuple[int, ...]]:
    """Return the shape of every layer's weight; no weights are read."""

    shapes = diffusion.adapters.layer_shapes(model, context.locate(model.digest))
    return {layer: tuple(shape) for layer, shape in shapes.items()}
