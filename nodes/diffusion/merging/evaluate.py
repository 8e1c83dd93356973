"""Evaluation of a recipe tensor by tensor, with a few slices in memory, whatever the models' size."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.families.registry import latent_channels_at
from nodes.diffusion.formats.checkpoint_headers import BYTES, Entry
from nodes.diffusion.handles.recipes import Baked, Merged, Permuted, Pruned, Recipe, Source, baked_in, permuted_in
from nodes.diffusion.merging.allocation import lying_in
from nodes.diffusion.merging.baking import RowChange, baked, look_through, read_changes
from nodes.diffusion.merging.blocks import ratio_of
from nodes.diffusion.merging.methods import method_of
from nodes.diffusion.merging.permutations import Order, read_order
from nodes.diffusion.merging.plan import MergePlan
from nodes.diffusion.merging.read_tensors import Reader
from nodes.diffusion.merging.tensor_statistics import WholeTensors

SLICE = 2**18
"""Numbers in one slice; a few slices fit into a processor's cache."""
SAMPLES, SAMPLE = 16, 4096
"""The number and the size of the pieces that make up a large tensor's sample."""


def values_of(plan: MergePlan, reader: Reader, name: str, folder: Path | None = None) -> Tensor:
    """Return one whole tensor of the result, float32; with a `folder` it is mapped from an unnamed file there."""
    count, start = plan.tensors[name].count, 0
    whole = lying_in(folder, (count,)) if folder else torch.empty(count)
    for part in Calculation(plan, reader, name, folder).slices():
        whole[start : start + len(part)] = part
        start += len(part)
    return whole.view(plan.tensors[name].shape)


@dataclass
class Calculation:
    """One tensor of the result."""

    plan: MergePlan
    reader: Reader
    name: str
    folder: Path | None
    """The folder for whole tensors while they are needed; None for memory alone."""
    _statistics: dict[Merged, Any] = field(default_factory=dict[Merged, Any])
    _read: dict[tuple[Source, int, int], Tensor] = field(default_factory=dict[tuple[Source, int, int], Tensor])
    """Numbers read for the present slice."""
    _changes: dict[Baked, list[RowChange]] = field(default_factory=dict[Baked, list[RowChange]])
    _orders: dict[Permuted, Order] = field(default_factory=dict[Permuted, Order])
    _wholes: dict[Permuted, Tensor] = field(default_factory=dict[Permuted, Tensor])
    """All rows of tensors to be permuted, [rows, width]."""

    def slices(self) -> Iterator[Tensor]:
        """Yield the tensor flat and in order, float32, in slices unless the shapes of inputs differ."""
        recipe = self.plan.recipe
        for start, count in self._places(recipe):
            yield self._value(recipe, start, count)

    def copied(self) -> Iterator[Tensor]:
        """Yield the holder's numbers as they are, as [n, bytes] in slices."""
        entry = self._entry(self.plan.recipe)
        for start in range(0, entry.count, SLICE):
            count = min(SLICE, entry.count - start)
            yield self.reader.raw(entry, start, count).view(count, BYTES[entry.dtype])

    def _places(self, recipe: Recipe) -> Iterator[tuple[int, int]]:
        """Yield starts and counts of slices."""
        total = self._entry(recipe).count
        step = self._step(total) if self._one_shape(self.plan.recipe) else total
        for start in range(0, total, max(1, step)):
            yield start, min(step, total - start)

    def _step(self, total: int) -> int:
        """Return the numbers in a slice; whole rows where LoRAs are baked or rows are permuted."""
        rows, recipe = next(iter(self.plan.tensors[self.name].shape), 1), self.plan.recipe
        if not total or not any(
            self.plan.takes_whole_rows(part, self.name) for part in (*baked_in(recipe), *permuted_in(recipe))
        ):
            return SLICE
        return max(1, SLICE * rows // total) * (total // rows)

    def _one_shape(self, recipe: Recipe) -> bool:
        operation = self.plan.operation(recipe, self.name)
        if operation is None:
            return isinstance(recipe, Source) or self._one_shape(self.plan.holder(recipe, self.name))
        shapes = {self._entry(part).shape for part in operation.inputs}
        return len(shapes) == 1 and all(self._one_shape(part) for part in operation.inputs)

    def _entry(self, recipe: Recipe) -> Entry:
        entry = self.plan.entry(recipe, self.name)
        assert entry is not None
        return entry

    def _value(self, recipe: Recipe, start: int, count: int) -> Tensor:
        """Return a slice of one part of the recipe; a source that occurs twice is read once."""
        if isinstance(recipe, Source):
            return self._numbers(recipe, start, count)
        if isinstance(recipe, Baked):
            return self._baked(recipe, start, count)
        if isinstance(recipe, Permuted):
            return self._permuted(recipe, start, count)
        if isinstance(recipe, Pruned):
            return self._value(recipe.input, start, count)
        operation = self.plan.operation(recipe, self.name)
        if operation is None:
            return self._value(self.plan.holder(recipe, self.name), start, count)
        shapes = [self._entry(part).shape for part in operation.inputs]
        if len(set(shapes)) > 1:
            return self._first_channels(operation, shapes)
        if operation not in self._statistics:
            whole = WholeTensors(math.prod(shapes[0]), lambda: self._inputs(operation), lambda: self._sample(operation))
            self._statistics[operation] = self._measured(operation, whole)
        tensors = [self._value(part, start, count) for part in operation.inputs]
        return self._merged(operation, tensors, self._statistics[operation], start)

    def _measured(self, operation: Merged, whole: WholeTensors) -> Any:
        """Return the statistics that a method needs; None for an elementwise method."""
        needs = method_of(operation).needs
        return needs(operation, whole) if needs else None

    def _merged(self, operation: Merged, tensors: list[Tensor], statistics: object, start: int) -> Tensor:
        return method_of(operation).merge(operation, tensors, self._weights(operation), statistics, self.name, start)

    def _baked(self, recipe: Baked, start: int, count: int) -> Tensor:
        if not self.plan.takes_whole_rows(recipe, self.name):
            return self._value(recipe.input, start, count)
        if recipe not in self._changes:
            self._changes[recipe] = read_changes(self.plan.changes[recipe][self.name], self.reader)
            places = self._places(recipe.input)
            look_through(self._changes[recipe], ((place[0], self._value(recipe.input, *place)) for place in places))
        return baked(self._changes[recipe], self._value(recipe.input, start, count), start)

    def _permuted(self, recipe: Permuted, start: int, count: int) -> Tensor:
        if not self.plan.takes_whole_rows(recipe, self.name):
            return self._value(recipe.input, start, count)
        if recipe not in self._orders:
            self._orders[recipe] = read_order(self.plan.orders[recipe], self.name, self.reader)
        order, entry = self._orders[recipe], self._entry(recipe)
        if order.rows is None:
            return order.of_columns(self._value(recipe.input, start, count), entry.shape)
        width = math.prod(entry.shape[1:])
        rows = order.rows[start // width : (start + count) // width]
        if isinstance(recipe.input, Source):
            values = self.reader.rows(self._entry(recipe.input), width, rows)
        else:
            values = self._whole(recipe).view(-1, width)[rows].flatten()
        return order.of_columns(values, entry.shape)

    def _whole(self, recipe: Permuted) -> Tensor:
        """Return all numbers of a permuted input, flat, since they are not read in the order of the result."""
        if recipe not in self._wholes:
            total = self._entry(recipe.input).count
            whole = lying_in(self.folder, (total,)) if self.folder else torch.empty(total)
            for start, count in self._places(recipe.input):
                whole[start : start + count] = self._value(recipe.input, start, count)
            self._wholes[recipe] = whole
        return self._wholes[recipe]

    def _numbers(self, source: Source, start: int, count: int) -> Tensor:
        place = (source, start, count)
        if place not in self._read:
            if self._read and next(iter(self._read))[1:] != place[1:]:
                self._read.clear()
            self._read[place] = self.reader.numbers(self._entry(source), start, count)
        return self._read[place]

    def _inputs(self, operation: Merged) -> Iterator[list[Tensor]]:
        """Yield the slices of all inputs of an operation."""
        for start, count in self._places(operation):
            yield [self._value(part, start, count) for part in operation.inputs]

    def _sample(self, operation: Merged) -> list[Tensor]:
        """Return the same few entries of each input, all if they are in one slice; none where an input is a merge itself."""
        entries = [self._entry(part) for part in operation.inputs]
        count = entries[0].count
        if count > SLICE and not all(isinstance(part, Source) for part in operation.inputs):
            return [torch.empty(0)] * len(entries)
        if count <= SLICE:
            return next(self._inputs(operation))
        starts = [count // SAMPLES * number for number in range(SAMPLES)]
        return [torch.cat([self.reader.numbers(entry, start, SAMPLE) for start in starts]) for entry in entries]

    def _first_channels(self, operation: Merged, shapes: list[tuple[int, ...]]) -> Tensor:
        """Merge the channels that take the latents; the others are the first input's."""
        wholes = [
            self._value(part, 0, self._entry(part).count).view(shape)
            for part, shape in zip(operation.inputs, shapes, strict=True)
        ]
        latents = latent_channels_at(self.name)
        tensors = [whole[:, :latents].flatten() for whole in wholes]
        again = WholeTensors(len(tensors[0]), lambda: iter([tensors]), lambda: tensors)
        merged = self._merged(operation, tensors, self._measured(operation, again), 0)
        first = wholes[0]
        return torch.cat([merged.view(len(first), -1, *first.shape[2:]), first[:, latents:]], dim=1).flatten()

    def _weights(self, operation: Merged) -> tuple[float, ...]:
        ratio = ratio_of(self.plan.block_of(self.name), dict(operation.blocks)) if operation.blocks else None
        return operation.weights if ratio is None else (1 - ratio, ratio)
