"""A recipe carried out while its result is written: a few slices are in memory, whatever the models' size."""

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.merging.allocating import keep_freed_memory
from nodes.diffusion.merging.baking import RowChange, baked, look_through, read_changes
from nodes.diffusion.merging.blocks import block_of, layers_per_block
from nodes.diffusion.merging.facts import Facts, found
from nodes.diffusion.merging.headers import BYTES, Entry
from nodes.diffusion.merging.methods import combined
from nodes.diffusion.merging.plan import LATENT_CHANNELS, Plan
from nodes.diffusion.merging.reading import Reader, bytes_of, reading
from nodes.diffusion.merging.values import Baked, Merged, Recipe, Source, baked_in, parts_of
from nodes.diffusion.merging.writing import writing
from nodes.diffusion.safetensors_writer import NAMES, header_bytes

SLICE = 2**18
"""Numbers in one slice: a few of them fit into a processor's cache."""
SAMPLES, SAMPLE = 16, 4096
"""A large tensor's sample: so many pieces of so many entries."""
EXPONENTS = {
    torch.float32: (torch.int32, 0x7F800000),
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
}
"""Whole numbers of the same width, and which of their bits are the exponent."""


def write_merged(
    plan: Plan, dtype: torch.dtype, metadata: Mapping[str, str], path: Path, progress: Callable[[int, int], None]
) -> str:
    """Write the result of a plan as safetensors, its numbers as `dtype`, and return its sha256; same plan, same bytes."""
    kinds = {name: NAMES[dtype] if entry.is_float else entry.dtype for name, entry in plan.tensors.items()}
    names = sorted(kinds, key=lambda name: (-BYTES[kinds[name]], name))
    sizes = {name: plan.tensors[name].count * BYTES[kinds[name]] for name in names}
    header = header_bytes(((name, kinds[name], plan.tensors[name].shape, sizes[name]) for name in names), metadata)
    _check_space(path, len(header) + sum(sizes.values()))
    keep_freed_memory()
    layers = layers_per_block(names)
    total, done = sum(plan.tensors[name].count for name in names), 0
    with reading() as reader, writing(path) as writer:
        writer.write(header)
        for name in names:
            calculation = _Calculation(plan, reader, name, layers)
            for part in calculation.slices() if plan.tensors[name].is_float else calculation.copied():
                done += len(part)
                if part.is_floating_point():
                    part = _cast(part, dtype, name, plan, reader)
                writer.write(bytes_of(part))
                progress(done, total)
    return writer.digest()


def values_of(plan: Plan, reader: Reader, name: str, layers: int) -> Tensor:
    """Return one whole tensor of the result, float32; `layers` is what `layers_per_block` says of all names."""
    whole, start = torch.empty(plan.tensors[name].count), 0
    for part in _Calculation(plan, reader, name, layers).slices():
        whole[start : start + len(part)] = part
        start += len(part)
    return whole.view(plan.tensors[name].shape)


def _check_space(path: Path, size: int) -> None:
    """Raise OSError when the disk cannot take a new file of this size."""
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@dataclass
class _Calculation:
    """One tensor of the result."""

    plan: Plan
    reader: Reader
    name: str
    layers: int
    _facts: dict[Merged, Facts] = field(default_factory=dict[Merged, Facts])
    _read: dict[tuple[Source, int, int], Tensor] = field(default_factory=dict[tuple[Source, int, int], Tensor])
    """What was read for the slice at hand."""
    _changes: dict[Baked, list[RowChange]] = field(default_factory=dict[Baked, list[RowChange]])

    def slices(self) -> Iterator[Tensor]:
        """Yield the tensor flat and in order, float32, in slices unless the shapes of inputs differ."""
        recipe = self.plan.recipe
        for start, count in self._places(recipe):
            yield self._value(recipe, start, count)

    def copied(self) -> Iterator[Tensor]:
        """Yield the first input's numbers as they are, as [n, bytes] in slices."""
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
        """Numbers in a slice; whole rows where LoRAs are baked."""
        rows = next(iter(self.plan.tensors[self.name].shape), 1)
        if not total or not any(self.name in self.plan.changes[part] for part in baked_in(self.plan.recipe)):
            return SLICE
        return max(1, SLICE * rows // total) * (total // rows)

    def _one_shape(self, recipe: Recipe) -> bool:
        operation = self.plan.operation(recipe, self.name)
        if operation is None:
            return isinstance(recipe, Source) or self._one_shape(parts_of(recipe)[0])
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
        operation = self.plan.operation(recipe, self.name)
        if operation is None:
            return self._value(recipe.inputs[0], start, count)
        shapes = [self._entry(part).shape for part in operation.inputs]
        if len(set(shapes)) > 1:
            return self._first_channels(operation, shapes)
        if operation not in self._facts:
            self._facts[operation] = found(
                operation, math.prod(shapes[0]), lambda: self._inputs(operation), self._sample(operation)
            )
        tensors = [self._value(part, start, count) for part in operation.inputs]
        return combined(operation, tensors, self._weights(operation), self._facts[operation], self.name, start)

    def _baked(self, recipe: Baked, start: int, count: int) -> Tensor:
        if self.name not in self.plan.changes[recipe]:
            return self._value(recipe.input, start, count)
        if recipe not in self._changes:
            self._changes[recipe] = read_changes(self.plan.changes[recipe][self.name], self.reader)
            places = self._places(recipe.input)
            look_through(self._changes[recipe], ((place[0], self._value(recipe.input, *place)) for place in places))
        return baked(self._changes[recipe], self._value(recipe.input, start, count), start)

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
        if operation.method != "ties" or (count > SLICE and not all(isinstance(part, Source) for part in operation.inputs)):
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
        tensors = [whole[:, :LATENT_CHANNELS].flatten() for whole in wholes]
        facts = found(operation, len(tensors[0]), lambda: iter([tensors]), tensors)
        merged = combined(operation, tensors, self._weights(operation), facts, self.name, 0)
        first = wholes[0]
        return torch.cat([merged.view(len(first), -1, *first.shape[2:]), first[:, LATENT_CHANNELS:]], dim=1).flatten()

    def _weights(self, operation: Merged) -> tuple[float, ...]:
        ratio = dict(operation.blocks).get(block_of(self.name, self.layers)) if operation.blocks else None
        return operation.weights if ratio is None else (1 - ratio, ratio)


def _cast(values: Tensor, dtype: torch.dtype, name: str, plan: Plan, reader: Reader) -> Tensor:
    """Return the numbers as they are written; raise InputError naming the input that is not finite, if one is."""
    written = values.to(dtype)
    if not _all_finite(written):
        for source, header in plan.headers.items():
            if name in header and not all(_all_finite(part) for part in reader.slices(header[name], SLICE)):
                remedy = "Use another copy of this checkpoint: this one is damaged or its training diverged."
                raise InputError(f"{name} of {source.name} holds numbers that are not finite.", field="model", remedy=remedy)
        remedy = "Save as bf16 or fp32, or merge with a smaller strength."
        raise InputError(f"{name} of the result does not fit into this precision.", field="precision", remedy=remedy)
    return written


def _all_finite(values: Tensor) -> bool:
    """Whether no number has all bits of its exponent set, which is what NaN and infinity are."""
    kind, exponent = EXPONENTS[values.dtype]
    bits: Any = values.view(kind).numpy()
    return not len(bits) or bool((bits & exponent).max() < exponent)
