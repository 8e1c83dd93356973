"""Baking of LoRAs into a tensor, row by row, so that neither the tensor nor its change is ever whole in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import product_rows, rank_of, scale_of, seen_through
from nodes.diffusion.merging.lora_layers import LayerChange
from nodes.diffusion.merging.read_tensors import Reader

SMALLEST = torch.finfo(torch.float32).tiny


@dataclass
class RowChange:
    """One LoRA's change of one parameter."""

    change: LayerChange
    leaves: dict[str, Tensor]
    _squares: Tensor | None = None
    """Sums of squares of the changed weight over all rows and the kernel [inputs], float64, for a magnitude along inputs."""

    @property
    def looks_at_all_rows(self) -> bool:
        """Return whether it must read every row before it can change one."""
        magnitude = self.leaves.get("dora_scale")
        return magnitude is not None and not self.change.bias and magnitude.shape[0] != self.change.part.shape[0]

    def look(self, own: Tensor, begin: int, end: int) -> None:
        """Add rows [end - begin, width] of the weight to the sums of squares."""
        squares = self._with_product(own, begin, end).double().square().sum(dim=0)
        summed = squares.view(self.leaves["dora_scale"].numel(), -1).sum(dim=1)
        self._squares = summed if self._squares is None else self._squares + summed

    def of_rows(self, own: Tensor, begin: int, end: int) -> Tensor:
        """Return W' - W for rows [end - begin, width] of W."""
        if self.change.bias:
            return self.leaves["diff_b"][begin:end].reshape(own.shape)
        if (whole := self.leaves.get("set_weight")) is not None:
            return whole[begin:end].reshape(own.shape) - own
        if (factors := self.leaves.get("ia3")) is not None:
            return own * (self._per_number(factors, own.shape[1]) if factors.shape[0] == 1 else factors[begin:end].reshape(-1, 1))
        magnitude = self.leaves.get("dora_scale")
        if magnitude is None:
            return self._product(own, begin, end)
        changed = self._with_product(own, begin, end)
        if self._squares is None:
            norms = torch.linalg.vector_norm(changed, dim=1, keepdim=True)
            return changed * (magnitude.reshape(-1, 1)[begin:end] / norms.clamp(min=SMALLEST)) - own
        quotients = magnitude.flatten() / self._squares.sqrt().float().clamp(min=SMALLEST)
        return changed * self._per_number(quotients, own.shape[1]) - own

    def _per_number(self, inputs: Tensor, width: int) -> Tensor:
        """Return factors of inputs as factors of a row's numbers, which are each input's kernel in turn."""
        return inputs.flatten().repeat_interleave(width // inputs.numel())

    def _with_product(self, own: Tensor, begin: int, end: int) -> Tensor:
        return own + self._product(own, begin, end)

    def _product(self, own: Tensor, begin: int, end: int) -> Tensor:
        change = product_rows(self.leaves, begin, end)
        if "a1.weight" in self.leaves:
            change = change + seen_through(self.leaves, own.reshape(-1, *self.change.part.shape[1:])).flatten(1)
        return change * scale_of(self.leaves, self.change.lora.scale) if rank_of(self.leaves) else change


def read_changes(changes: Iterable[LayerChange], reader: Reader) -> list[RowChange]:
    """Return the changes of one tensor with their matrices, float32."""
    return [
        RowChange(change, {leaf: reader.numbers(entry).view(entry.shape) for leaf, entry in change.leaves.items()})
        for change in changes
    ]


def look_through(changes: list[RowChange], slices: Iterator[tuple[int, Tensor]]) -> None:
    """Pass the whole tensor to the changes that need it: `slices` are starts and flat numbers, whole rows each."""
    looking = [change for change in changes if change.looks_at_all_rows]
    if looking:
        for start, values in slices:
            for change, begin, end, rows in _meetings(looking, values, start):
                change.look(rows, begin, end)


def baked(changes: list[RowChange], values: Tensor, start: int) -> Tensor:
    """Return a slice with all changes added, flat; it begins at entry `start` and holds whole rows."""
    result = values.clone()
    added = {id(change): rows for change, _, _, rows in _meetings(changes, result, start)}
    for change, begin, end, own in _meetings(changes, values, start):
        added[id(change)].add_(change.of_rows(own, begin, end), alpha=change.change.strength)
    return result


def _meetings(changes: list[RowChange], values: Tensor, start: int) -> Iterator[tuple[RowChange, int, int, Tensor]]:
    """Yield each change with those of its rows that a slice holds: begin, end, and the rows [end - begin, width] themselves."""
    for change in changes:
        part, width = change.change.part, change.change.width
        rows = values.view(-1, width)
        first = start // width - part.first
        begin, end = max(0, first), min(part.shape[0], first + len(rows))
        if begin < end:
            yield change, begin, end, rows[begin - first : end - first]
