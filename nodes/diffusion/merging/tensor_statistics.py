"""Statistics of whole tensors that a merge method needs before its first slice: inner products and magnitude thresholds."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import hardshrink

from nodes.diffusion.handles.recipes import Merged
from nodes.diffusion.merging.quantiles import Bits, Selection

Numbers = NDArray[np.float32]
ROW = 2**12
"""The number of entries that are summed in float32 before the sums are added in float64."""


@dataclass
class Trim:
    """The entries of a difference to keep: those of larger magnitude than `size`, and the first few of exactly this one."""

    size: float = 0.0
    """The magnitude; infinite where nothing is kept."""
    equal_kept: int | None = None
    """The number of entries of exactly this magnitude that are kept; None for all."""
    _before: dict[int, int] = field(default_factory=lambda: {0: 0})
    """The number of entries of this magnitude before a slice, by its start; slices come in order, perhaps more than once."""

    def trimmed(self, difference: Tensor, start: int) -> Tensor:
        """Return the slice that begins at `start` with dropped entries set to 0; may modify `difference`."""
        if math.isinf(self.size):
            return difference.mul_(0)
        if not self.size:
            return difference
        if self.equal_kept is not None:
            values = difference.numpy()
            equal = np.flatnonzero(np.abs(values) == self.size)
            values[equal[max(0, self.equal_kept - self._before[start]) :]] = 0
            self._before[start + len(values)] = self._before[start] + len(equal)
        return hardshrink(difference, float(np.nextafter(np.float32(self.size), np.float32(0))))


@dataclass(frozen=True)
class WholeTensors:
    """The inputs' tensors of one name; they are read again, slice by slice, as often as a statistic needs."""

    total: int
    """The number of entries of each."""
    slices: Callable[[], Iterator[list[Tensor]]]
    """Starts one more pass: yields the slices of all inputs, flat and float32, in order."""
    sample: Callable[[], list[Tensor]]
    """Returns the same few entries of each input, all of a small tensor; empty ones where reading them is not cheap."""


Measure = Callable[[Merged, WholeTensors], Any]
"""Returns a statistic of whole tensors, which the method gets for each slice."""
Products = list[list[float]]
"""Inner products of all pairs of vectors, [i][j] for j <= i."""


def inner_products(merge: Merged, whole: WholeTensors) -> Products:
    """Return the inner products of the inputs."""
    return _products(whole.slices())


def inner_products_of_differences(merge: Merged, whole: WholeTensors) -> Products:
    """Return the inner products of the other inputs' differences from the first."""
    return _products([other - base for other in others] for base, *others in whole.slices())


def largest_differences(merge: Merged, whole: WholeTensors) -> tuple[Trim, ...]:
    """Return for each difference from the first input its `floor(density * total)` entries of largest magnitude."""
    kept = math.floor(merge.density * whole.total)
    if not 0 < kept < whole.total:
        return (Trim(0.0 if kept else math.inf),) * (len(merge.inputs) - 1)
    selections = [Selection(kept, whole.total, bits) for bits in _sizes(whole.sample())]
    searching = True
    while searching:
        for tensors in whole.slices():
            for selection, bits in zip(selections, _sizes(tensors), strict=True):
                selection.add(bits)
        ended = [selection.narrow() for selection in selections]
        searching = not all(ended)
    return tuple(Trim(float(np.int32(one.value).view(np.float32)), one.equal_kept) for one in selections)


def _products(slices: Iterator[list[Tensor]]) -> Products:
    sums: Products = []
    for vectors in slices:
        sums = sums or [[0.0] * (i + 1) for i in range(len(vectors))]
        for i, vector in enumerate(vectors):
            for j in range(i + 1):
                sums[i][j] += _dot(vector.numpy(), vectors[j].numpy())
    return sums


def _dot(one: Numbers, other: Numbers) -> float:
    """Return the inner product of flat vectors, summed in one order; libraries' sums depend on the number of threads."""
    whole = len(one) // ROW * ROW
    rows = np.einsum("ij,ij->i", one[:whole].reshape(-1, ROW), other[:whole].reshape(-1, ROW))
    return float(rows.sum(dtype=np.float64)) + float(np.einsum("i,i->", one[whole:], other[whole:]))


def _sizes(tensors: list[Tensor]) -> list[Bits]:
    """Return the magnitudes of the differences from the first, as bits."""
    base, *others = tensors
    return [(other - base).abs_().numpy().view(np.int32) for other in others]
