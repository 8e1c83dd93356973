"""A recipe carried out while its result is written: a few slices are in memory, whatever the models' size."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.merging.blocks import block_of, layers_per_block
from nodes.diffusion.merging.headers import BYTES, Entry
from nodes.diffusion.merging.methods import ELEMENTWISE, combined
from nodes.diffusion.merging.plan import LATENT_CHANNELS, Plan
from nodes.diffusion.merging.reading import Reader, bytes_of, reading
from nodes.diffusion.merging.values import Merged, Recipe, Source
from nodes.diffusion.safetensors_writer import NAMES

SLICE = 2**18
"""Numbers in one slice: a few of them fit into a processor's cache."""


def write_merged(
    plan: Plan, dtype: torch.dtype, metadata: Mapping[str, str], path: Path, progress: Callable[[int, int], None]
) -> None:
    """Write the result of a plan as safetensors, its numbers as `dtype`; the same plan gives the same bytes."""
    kinds = {name: NAMES[dtype] if entry.is_float else entry.dtype for name, entry in plan.tensors.items()}
    names = sorted(kinds, key=lambda name: (-BYTES[kinds[name]], name))
    header = _header(plan, names, kinds, metadata)
    layers = layers_per_block(names)
    total, done = sum(plan.tensors[name].count for name in names), 0
    with reading() as reader, path.open("wb", buffering=0) as file:
        _write(file.write, header)
        for name in names:
            entry = plan.tensors[name]
            if not entry.is_float:
                _write(file.write, bytes_of(reader.raw(entry)))
            else:
                for part in _Calculation(plan, reader, name, layers).slices():
                    _write(file.write, bytes_of(_cast(part, dtype, name, plan, reader)))
            done += entry.count
            progress(done, total)


def _header(plan: Plan, names: list[str], kinds: Mapping[str, str], metadata: Mapping[str, str]) -> bytes:
    """Length and header, padded to 8 bytes."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for name in names:
        entry = plan.tensors[name]
        end = start + entry.count * BYTES[kinds[name]]
        header[name] = {"dtype": kinds[name], "shape": list(entry.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(write: Callable[[bytes | memoryview], int], data: bytes | memoryview) -> None:
    """Write all of it: the system may take less at a time."""
    view = memoryview(data)
    while len(view):
        view = view[write(view) :]


@dataclass
class _Calculation:
    """One tensor of the result."""

    plan: Plan
    reader: Reader
    name: str
    layers: int

    def slices(self) -> Iterator[Tensor]:
        """Yield the tensor flat and in order, float32: in slices where every method in the recipe allows it."""
        entry = self.plan.tensors[self.name]
        step = SLICE if self._by_slices(self.plan.recipe) else max(1, entry.count)
        for start in range(0, entry.count, step):
            yield self._value(self.plan.recipe, start, min(step, entry.count - start), {}).flatten()

    def _by_slices(self, recipe: Recipe) -> bool:
        operation = self.plan.operation(recipe, self.name)
        if operation is None:
            return isinstance(recipe, Source) or self._by_slices(recipe.inputs[0])
        if len({self._entry(part).shape for part in operation.inputs}) > 1:
            return False
        return operation.method in ELEMENTWISE and all(self._by_slices(part) for part in operation.inputs)

    def _entry(self, recipe: Recipe) -> Entry:
        entry = self.plan.entry(recipe, self.name)
        assert entry is not None
        return entry

    def _value(self, recipe: Recipe, start: int, count: int, read: dict[Source, Tensor]) -> Tensor:
        """Return a slice of one part of the recipe; a source that occurs twice is read once."""
        if isinstance(recipe, Source):
            if recipe not in read:
                read[recipe] = self.reader.numbers(self._entry(recipe), start, count)
            return read[recipe]
        operation = self.plan.operation(recipe, self.name)
        if operation is None:
            return self._value(recipe.inputs[0], start, count, read)
        shapes = [self._entry(part).shape for part in operation.inputs]
        if len(set(shapes)) > 1:
            return self._first_channels(operation, shapes, read)
        tensors = [self._value(part, start, count, read) for part in operation.inputs]
        return combined(operation, tensors, self._weights(operation), self.name, start)

    def _first_channels(self, operation: Merged, shapes: list[tuple[int, ...]], read: dict[Source, Tensor]) -> Tensor:
        """Merge the channels that take the latents; the others are the first input's."""
        wholes = [
            self._value(part, 0, self._entry(part).count, read).view(shape)
            for part, shape in zip(operation.inputs, shapes, strict=True)
        ]
        tensors = [whole[:, :LATENT_CHANNELS].contiguous() for whole in wholes]
        merged = combined(operation, tensors, self._weights(operation), self.name, 0)
        return torch.cat([merged, wholes[0][:, LATENT_CHANNELS:]], dim=1).flatten()

    def _weights(self, operation: Merged) -> tuple[float, ...]:
        ratio = dict(operation.blocks).get(block_of(self.name, self.layers)) if operation.blocks else None
        return operation.weights if ratio is None else (1 - ratio, ratio)


def _cast(values: Tensor, dtype: torch.dtype, name: str, plan: Plan, reader: Reader) -> Tensor:
    """Return the numbers as they are written; raise InputError naming the input that is not finite, if one is."""
    written = values.to(dtype)
    if not written.sum(dtype=torch.float32).isfinite() and not written.isfinite().all():  # the sum alone is far faster
        for source, header in plan.headers.items():
            if name in header and not reader.numbers(header[name]).isfinite().all():
                remedy = "Use another copy of this checkpoint: this one is damaged or its training diverged."
                raise InputError(f"{name} of {source.name} holds numbers that are not finite.", field="model", remedy=remedy)
        remedy = "Save as bf16 or fp32, or merge with a smaller strength."
        raise InputError(f"{name} of the result does not fit into this precision.", field="precision", remedy=remedy)
    return written
