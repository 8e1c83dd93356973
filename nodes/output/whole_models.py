"""The adapters of a model that is written whole."""

from collections.abc import Callable
from typing import Literal

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel


def trained_changes(model: DiffusionModel, warn: Callable[[str, Literal["warning"]], object]) -> list[WeightChange]:
    """Return the trained weights that belong into a model's file; raise InputError for what is still untrained.

    Adapters that are no part of the weights, such as words, LoRAs and hypernetworks, are left out with a warning.
    """
    for adapter in model.adapters:
        if adapter.weights is None:
            raise InputError(f"{adapter.label} has not been trained.", field="model", remedy="Wire the trained model here.")
        if adapter.left_out:
            warn(adapter.left_out, "warning")
    return [adapter for adapter in model.adapters if isinstance(adapter, WeightChange)]
