"""Exact selection of the kth largest number in a few passes, with a few megabytes of memory."""

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int32]
"""Bit patterns of float32 numbers >= 0, which sort like the numbers."""
BINS = 2**20
EVERYTHING = 2**31
MARGIN = 3.0
"""The first search range, in standard deviations of a sample's rank."""


class Selection:
    """Search for the kth largest number: add all numbers in each pass until `narrow` returns True."""

    value = 0
    """The bits of the kth largest, once it is found."""
    equal_kept = 0
    """The number of entries equal to it among the k largest."""

    def __init__(self, k: int, total: int, sample: Bits) -> None:
        """Begin with the range that a sample of the `total` numbers suggests; an empty sample costs one more pass."""
        self._k = k
        self._found = False
        self._begin(*_range(k / total, sample, len(sample) == total))

    def add(self, bits: Bits) -> None:
        """Count numbers in this pass."""
        if self._found:
            return
        self._above += int(np.count_nonzero(bits >= self._high))
        inside = bits[(bits >= self._low) & (bits < self._high)]
        if len(inside):
            self._waiting.append(inside)
            self._number += len(inside)
        if self._number > BINS:
            self._sort_in()

    def narrow(self) -> bool:
        """End a pass; return whether the kth largest is found."""
        if self._found:
            return True
        self._sort_in()
        wanted = self._k - self._above
        from_top = np.cumsum(self._bins[::-1])
        if not 0 < wanted <= from_top[-1]:
            self._begin(0, EVERYTHING)
            return False
        place = int(np.searchsorted(from_top, wanted))
        start = self._low + ((len(self._bins) - 1 - place) << self._shift)
        if self._shift:
            self._begin(start, min(self._high, start + (1 << self._shift)))
            return False
        self.value = start
        self.equal_kept = wanted - (int(from_top[place - 1]) if place else 0)
        self._found = True
        return True

    def _begin(self, low: int, high: int) -> None:
        self._low, self._high, self._above, self._number = low, high, 0, 0
        self._shift = max(0, (high - low - 1).bit_length() - (BINS - 1).bit_length())
        self._bins = np.zeros(((high - low - 1) >> self._shift) + 1, np.int64)
        self._waiting: list[Bits] = []

    def _sort_in(self) -> None:
        if self._waiting:
            bins = (np.concatenate(self._waiting) - self._low) >> self._shift
            self._bins += np.bincount(bins, minlength=len(self._bins))
        self._waiting, self._number = [], 0


def _range(share: float, sample: Bits, whole: bool) -> tuple[int, int]:
    """Return bounds (float bits) of the quantile: probable from a sample, exact from all entries."""
    size = len(sample)
    if not size:
        return 0, EVERYTHING
    rank, margin = size - share * size, 0.0 if whole else MARGIN * (size * share * (1 - share)) ** 0.5 + 1
    ranks = [min(size - 1, max(0, round(place))) for place in (rank - margin, rank + margin)]
    low, high = np.partition(sample, ranks)[ranks]
    return int(low), int(high) + 1
