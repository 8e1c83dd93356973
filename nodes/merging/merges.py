"""What all merge nodes do: put inputs under one operation, and refuse at once what cannot be merged."""

from typing import Any

from graph_runtime.context import RunContext
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.values import Checkpoint, Merged, Method


def merged(
    method: Method, inputs: list[Checkpoint], weights: tuple[float, ...], context: RunContext, **settings: Any
) -> Checkpoint:
    """Return the merge as a value, its inputs compared by their headers; nothing is computed."""
    recipe = Merged(method=method, inputs=tuple(given.recipe for given in inputs), weights=weights, **settings)
    alone = planned(recipe, context.locate).left_alone()
    if alone:
        context.message(f"{alone} tensors that not every input has are taken from the first.", "warning")
    return Checkpoint(recipe, inputs[0].family)
