"""Resizing and adding of LoRAs as products of factors, one layer in memory at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import fits, product
from nodes.diffusion.adapters.lora.factorization import Factors, plain_factors, refactored
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import Entry
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.merging.lora_layers import layers_of
from nodes.diffusion.merging.read_tensors import Reader
from nodes.diffusion.merging.write_lora import MadeLayer

ANOTHER = "Wire LoRAs that were trained on models of one architecture."


@dataclass(frozen=True)
class Weighted:
    """A LoRA in a sum."""

    lora: LowRankAdapter
    weight: float

    def on(self, layer: str) -> float:
        """Return the factor of its change of a layer."""
        return self.weight * self.lora.strength_on(layer.partition(".")[0])


def summed(
    terms: list[Weighted],
    shapes: Mapping[str, tuple[int, ...]],
    cut: tuple[int, float] | None,
    reader: Reader,
    progress: Callable[[int, int], None],
    socket: str = "model",
) -> Iterator[MadeLayer]:
    """Yield every layer of a sum of LoRAs, its factors side by side, or cut to (rank, energy); errors name `socket`."""
    where = [layers_of(term.lora) for term in terms]
    names = sorted({layer for layers in where for layer in layers})
    for done, layer in enumerate(names):
        progress(done, len(names))
        parts = [(term, layers[layer]) for term, layers in zip(terms, where, strict=True) if layer in layers and term.on(layer)]
        if parts and layer not in shapes:
            raise InputError(f"the model has no layer {layer}, which a LoRA changes.", field=socket, remedy=ANOTHER)
        if parts:
            yield _layer(layer, shapes[layer], parts, cut, reader, socket)


def _layer(
    layer: str,
    shape: tuple[int, ...],
    parts: Sequence[tuple[Weighted, Mapping[str, Entry]]],
    cut: tuple[int, float] | None,
    reader: Reader,
    socket: str,
) -> MadeLayer:
    ups: list[Tensor] = []
    downs: list[Tensor] = []
    biases: list[Tensor] = []
    wholes: list[Tensor] = []
    for term, entries in parts:
        leaves = {leaf: reader.numbers(entry).view(entry.shape) for leaf, entry in entries.items()}
        if not fits(leaves, shape):
            message = f"what {term.lora.label} holds for {layer} does not fit the model's {list(shape)}."
            raise InputError(message, field=socket, remedy=ANOTHER)
        if len(shape) == 1 and "diff" in leaves:  # of a norm
            wholes.append(product(leaves) * term.on(layer))
        else:
            up, down = plain_factors(leaves, term.lora.scale, shape, socket)
            ups.append(up * term.on(layer))
            downs.append(down)
        if "diff_b" in leaves:
            biases.append(leaves["diff_b"] * term.on(layer))
    factors = _beside(torch.cat(ups, dim=1), torch.cat(downs), cut) if ups else None
    return MadeLayer(layer, shape, factors, _sum(biases), _sum(wholes))


def _beside(up: Tensor, down: Tensor, cut: tuple[int, float] | None) -> Factors:
    return refactored(up, down, *cut) if cut else Factors(up, down, squares=0.0, lost=0.0)


def _sum(changes: list[Tensor]) -> Tensor | None:
    return torch.stack(changes).sum(dim=0) if changes else None
