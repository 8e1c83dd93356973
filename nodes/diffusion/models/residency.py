"""Parts of models that stay in memory: shared by whoever uses the same weights, evicted one by one when memory is short."""

import os
from collections import Counter, OrderedDict
from typing import Any

import torch
from torch import nn

PartKey = tuple[str, str]
"""Identity of a model's weights on one device in one precision, and the name of a part."""


class Residency:
    """Parts in memory, the least recently used first. A part in use is never evicted; see `ActiveModel`."""

    def __init__(self) -> None:
        self._parts: OrderedDict[PartKey, tuple[torch.device, Any]] = OrderedDict()
        self._uses: Counter[PartKey] = Counter()
        self.patched: set[str] = set()
        """Identities of the models whose parts have adapters applied to them now."""

    def find(self, key: PartKey) -> Any:
        """Return a part that is in memory, from now on the most recently used one; None if it is not there."""
        if key not in self._parts:
            return None
        self._parts.move_to_end(key)
        return self._parts[key][1]

    def keep(self, key: PartKey, device: torch.device, part: object) -> None:
        """Keep a part in memory as the most recently used one."""
        self._parts[key] = (device, part)

    def hold(self, key: PartKey) -> None:
        """Keep a part from eviction until `release` was called as often."""
        self._uses[key] += 1

    def release(self, key: PartKey) -> None:
        """End one hold of a part."""
        self._uses[key] -= 1

    def make_room(self, device: torch.device, wanted: int = 0) -> None:
        """Evict parts that nobody uses, the least recently used first, until a device has room for `wanted` more bytes.

        Parts fill at most half of its memory before that, and four fifths afterwards.
        """
        sizes = {key: bytes_of(part) for key, (where, part) in self._parts.items() if where == device}
        room = min(memory_of(device) // 2, memory_of(device) * 4 // 5 - wanted)
        for key in list(sizes):
            if sum(sizes.values()) <= room:
                return
            if not self._uses[key]:
                del self._parts[key], sizes[key]

    def forget(self, identity: str) -> None:
        """Let nobody else have the parts of a model; whoever holds them keeps them."""
        for key in [key for key in self._parts if key[0] == identity]:
            del self._parts[key]

    def clear(self) -> None:
        """Forget all parts."""
        self._parts.clear()

    def parts(self) -> dict[PartKey, Any]:
        """Return what is in memory now, the least recently used first."""
        return {key: part for key, (_, part) in self._parts.items()}


RESIDENT = Residency()
"""The parts that all nodes of this process share."""


def bytes_of(part: object) -> int:
    """Return the bytes of a part's weights; tokenizers have none."""
    return sum(p.numel() * p.element_size() for p in part.parameters()) if isinstance(part, nn.Module) else 0


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory that a device has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * 2**30
