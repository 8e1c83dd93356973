"""Permutations of a tensor's rows and columns: written to and read from a file, and applied to slices of whole rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nodes.diffusion.families.registry import moving_average
from nodes.diffusion.formats.checkpoint_headers import Header
from nodes.diffusion.merging.lora_layers import Part
from nodes.diffusion.merging.permutation_spec import AxisUse
from nodes.diffusion.merging.read_tensors import Reader


@dataclass(frozen=True)
class Order:
    """The input row and input column of each row and column; None where all stay."""

    rows: Tensor | None
    columns: Tensor | None

    def of_columns(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return whole rows of a tensor [rows, columns, ...], flat, with permuted columns."""
        if self.columns is None:
            return values
        return values.view(-1, shape[1], *shape[2:])[:, self.columns].flatten()


def read_order(orders: Header, name: str, reader: Reader) -> Order:
    """Return the order of one tensor."""
    found = {axis: orders.get(f"{axis}.{name}") for axis in ("rows", "columns")}
    return Order(**{axis: entry and reader.raw(entry).view(torch.int32).long() for axis, entry in found.items()})


def orders_by_tensor(found: Iterable[tuple[AxisUse, Tensor]], parts: Mapping[str, Part], header: Header) -> dict[str, Tensor]:
    """Return the orders of a file's tensors, `rows.NAME` and `columns.NAME`, whole axes, int32, from those of units [n].

    A moving average beside a UNet's tensor gets the same order.
    """
    orders: dict[str, Tensor] = {}
    for use, order in found:
        part, count = parts[use.weight], len(order)
        key = f"{'columns' if use.axis else 'rows'}.{part.name}"
        whole = orders.setdefault(key, torch.arange(header[part.name].shape[use.axis], dtype=torch.int32))
        for first in range(part.first, part.first + use.repeats * count, count):
            whole[first : first + count] = first + order
    for key, order in list(orders.items()):
        axis, _, name = key.partition(".")
        if (average := moving_average(name)) in header:
            orders[f"{axis}.{average}"] = order
    return orders
