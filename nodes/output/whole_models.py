"""What may lie over a model that is written whole."""

from collections.abc import Callable

from nodes.diffusion.adapters import TokenEmbedding, WeightChange
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import DiffusionModel


def trained_changes(model: DiffusionModel, tell: Callable[[str], object]) -> list[WeightChange]:
    """Return the trained weights that belong into a model's file; raise InputError for what is no part of the weights.

    New words are told to be missing: they are files of their own.
    """
    for adapter in model.adapters:
        if not isinstance(adapter, WeightChange | TokenEmbedding):
            remedy = "Save it as a file of its own, and the model without it."
            raise InputError(f"{adapter.label} is laid over the weights, not part of them.", field="model", remedy=remedy)
        if adapter.weights is None:
            raise InputError(f"{adapter.label} has not been trained.", field="model", remedy="Wire the trained model here.")
        if isinstance(adapter, TokenEmbedding):
            tell(f"the word {adapter.placeholder_token} is not in what is written: SaveEmbedding writes it.")
    return [adapter for adapter in model.adapters if isinstance(adapter, WeightChange)]
