"""Extraction of LoRAs: the difference of two recipes, layer by layer, in factors of low rank."""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.factorization import factored
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.recipes import sources_of
from nodes.diffusion.merging.evaluate import values_of
from nodes.diffusion.merging.lora_layers import layers_in, parameters_in
from nodes.diffusion.merging.plan import MergePlan
from nodes.diffusion.merging.read_tensors import Reader
from nodes.diffusion.merging.write_lora import MadeLayer


class Side:
    """One of two recipes: its parameters by LoRAs' names, whatever its layout.

    Only `known` ones count, as SD2's files hold a layer of the text encoder that no program uses.
    """

    def __init__(self, plan: MergePlan, reader: Reader, known: Collection[str]) -> None:
        self._plan, self._reader = plan, reader
        self.parameters = {name: part for name, part in parameters_in(plan.tensors).items() if name in known}
        self.layers = {layer: part for layer, part in layers_in(plan.tensors).items() if f"{layer}.weight" in known}

    def file_of(self, name: str) -> tuple[str, str] | None:
        """Return the file and the tensor that a parameter equals; None when it is computed."""
        tensor = self.parameters[name].name
        return None if self._plan.is_touched(tensor) else (next(sources_of(self._plan.recipe)).digest, tensor)

    def values(self, name: str) -> Tensor:
        """Return a parameter, float32, which the caller may modify."""
        part = self.parameters[name]
        return values_of(self._plan, self._reader, part.name)[part.first : part.first + part.shape[0]]


@dataclass(frozen=True)
class Difference:
    """The difference between a tuned model and its base."""

    base: Side
    tuned: Side

    def of(self, name: str) -> Tensor | None:
        """Return the change of a parameter, float32; None without one. Equal files are not read."""
        own = self.tuned.file_of(name)
        if own and own == self.base.file_of(name):
            return None
        change = self.tuned.values(name).sub_(self.base.values(name))
        if not change.isfinite().all():
            remedy = "Use another copy of the checkpoints: one of them is damaged."
            raise InputError(f"{name} holds numbers that are not finite.", field="tuned", remedy=remedy)
        return change if change.any() else None

    def layers(self, *, text_encoder: bool, convolutions: bool) -> list[str]:
        """Return the layers of both for a LoRA."""
        shared = sorted(self.base.layers.keys() & self.tuned.layers.keys())
        for layer in shared:
            shapes = [side.layers[layer].shape for side in (self.base, self.tuned)]
            if shapes[0] != shapes[1]:
                message = f"{layer} is {list(shapes[0])} in the base and {list(shapes[1])} in the tuned model."
                raise InputError(message, field="tuned", remedy="Wire a model that was trained from the base.")
        wanted = [layer for layer in shared if text_encoder or layer.startswith("unet.")]
        return [layer for layer in wanted if convolutions or self.base.layers[layer].shape[2:] <= (1, 1)]

    def extracted(
        self, layers: list[str], rank: int, energy: float, *, biases: bool, progress: Callable[[int, int], None]
    ) -> Iterator[MadeLayer]:
        """Yield the layers that differ, each with the best factors of its change."""
        for done, layer in enumerate(layers):
            progress(done, len(layers))
            shape, bias = self.base.layers[layer].shape, f"{layer}.bias"
            change = self.of(f"{layer}.weight")
            turned = self.of(bias) if biases and bias in self.tuned.parameters and bias in self.base.parameters else None
            if change is None and turned is None:
                continue
            whole = torch.zeros(shape) if change is None else change
            yield MadeLayer(layer, shape, factored(whole.reshape(shape[0], math.prod(shape[1:])), rank, energy), turned)

    def left_out(self, layers: list[str], *, text_encoder: bool, biases: bool) -> list[float]:
        """Return the sum of squares of each change that a LoRA of these layers leaves out, such as of norms."""
        held = {f"{layer}.{last}" for layer in layers for last in (("weight", "bias") if biases else ("weight",))}
        shared = sorted(self.base.parameters.keys() & self.tuned.parameters.keys() - held)
        asked = [name for name in shared if text_encoder or name.startswith("unet.")]
        same = [name for name in asked if self.base.parameters[name].shape == self.tuned.parameters[name].shape]
        changes = (self.of(name) for name in same)
        return [float(change.double().square().sum()) for change in changes if change is not None]
