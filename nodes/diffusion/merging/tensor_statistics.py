"""What a method must know of whole tensors before its first slice: inner products, and how small a change is dropped."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import hardshrink

from nodes.diffusion.handles.recipes import Merged
from nodes.diffusion.merging.quantiles import Bits, Selection

Numbers = NDArray[np.float32]
ROW = 2**12
"""Numbers that are summed in float32 before their sum is added to others in float64."""
Pass = Callable[[], Iterator[list[Tensor]]]
"""Goes through the inputs of a merge once more, slice by slice."""


@dataclass
class Trim:
    """Which entries of a difference are kept: those larger than a size, and the first few of exactly that size."""

    size: float = 0.0
    """Infinite where nothing is kept."""
    equal_kept: int | None = None
    """How many of exactly this size are kept, None for all."""
    _before: dict[int, int] = field(default_factory=lambda: {0: 0})
    """How many of this size lie before a slice, by its start; slices come in order, perhaps more than once."""

    def trimmed(self, difference: Tensor, start: int) -> Tensor:
        """Return the slice that begins at `start` with 0 where it is not kept; `difference` may be changed."""
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
class Facts:
    """What was found; empty for methods that go entry by entry."""

    products: list[list[float]] = field(default_factory=list[list[float]])
    """Inner products of all pairs, [i][j] for j <= i: of the inputs, for Model Stock of their differences from the first."""
    trims: tuple[Trim, ...] = ()


def found(merge: Merged, total: int, again: Pass, sample: list[Tensor]) -> Facts:
    """Return the facts of one tensor of `total` entries; `sample` is what some entries are in each input, if it is known."""
    if merge.method == "ties":
        kept = math.floor(merge.density * total)
        if 0 < kept < total:
            return Facts(trims=_trims(kept, total, again, sample))
        return Facts(trims=(Trim(0.0 if kept else math.inf),) * (len(merge.inputs) - 1))
    if merge.method in ("slerp", "cosine"):
        return Facts(products=_products(again()))
    if merge.method == "model stock":
        return Facts(products=_products([other - base for other in others] for base, *others in again()))
    return Facts()


def _products(slices: Iterator[list[Tensor]]) -> list[list[float]]:
    sums: list[list[float]] = []
    for vectors in slices:
        sums = sums or [[0.0] * (i + 1) for i in range(len(vectors))]
        for i, vector in enumerate(vectors):
            for j in range(i + 1):
                sums[i][j] += _dot(vector.numpy(), vectors[j].numpy())
    return sums


def _dot(one: Numbers, other: Numbers) -> float:
    """The inner product of flat vectors, summed in one order: libraries split it among as many threads as there are."""
    whole = len(one) // ROW * ROW
    rows = np.einsum("ij,ij->i", one[:whole].reshape(-1, ROW), other[:whole].reshape(-1, ROW))
    return float(rows.sum(dtype=np.float64)) + float(np.einsum("i,i->", one[whole:], other[whole:]))


def _trims(kept: int, total: int, again: Pass, sample: list[Tensor]) -> tuple[Trim, ...]:
    selections = [Selection(kept, total, bits) for bits in _sizes(sample)]
    searching = True
    while searching:
        for tensors in again():
            for selection, bits in zip(selections, _sizes(tensors), strict=True):
                selection.add(bits)
        ended = [selection.narrow() for selection in selections]
        searching = not all(ended)
    return tuple(Trim(float(np.int32(one.value).view(np.float32)), one.equal_kept) for one in selections)


def _sizes(tensors: list[Tensor]) -> list[Bits]:
    """The sizes of the differences from the first, as bits."""
    base, *others = tensors
    return [(other - base).abs_().numpy().view(np.int32) for other in others]
