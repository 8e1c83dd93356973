"""Weight matching (Ainsworth, Hayase and Srinivasa 2022, "Git Re-Basin", algorithm 1) of hidden units.

The algorithm repeats until no order changes, as the best order of one layer depends on that of its neighbours. Here the
residual streams stay as they are, so that no parameter has two orders: each is found once, is optimal and deterministic.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.recipes import name_of
from nodes.diffusion.merging.allocation import lying_in
from nodes.diffusion.merging.evaluate import values_of
from nodes.diffusion.merging.lora_layers import all_parameters_in
from nodes.diffusion.merging.permutation_spec import AxisUse, Units
from nodes.diffusion.merging.plan import MergePlan
from nodes.diffusion.merging.read_tensors import Reader

CHUNK, SUMMED = 2**20, 2**16
"""The number of entries that are multiplied at once, and squared at once."""
TOLERANCE = 1e-6
"""Relative to the norms' product or squares; smaller gains are rounding errors."""
Costs = NDArray[np.float64]


@dataclass
class Model:
    """A recipe's parameters, one at a time, mapped from unnamed files in a folder."""

    plan: MergePlan
    reader: Reader
    folder: Path
    socket: str
    """The node's input, for errors."""

    def __post_init__(self) -> None:
        self.parts = all_parameters_in(self.plan.tensors)

    def values(self, use: AxisUse, count: int) -> tuple[Tensor, float]:
        """Return a parameter as [outer, units, inner], float32, and its sum of squares; raise InputError if it is not finite."""
        part = self.parts[use.weight]
        whole = values_of(self.plan, self.reader, part.name, self.folder)
        found = whole[part.first : part.first + part.shape[0]].view(part.shape[0] if use.axis else use.repeats, count, -1)
        squares = sum(float(piece.double().square().sum()) for piece in found.flatten().split(SUMMED))
        if not math.isfinite(squares):
            remedy = "Use another copy of this checkpoint: this one is damaged or its training diverged."
            message = f"{part.name} of {name_of(self.plan.recipe)} holds numbers that are not finite."
            raise InputError(message, field=self.socket, remedy=remedy)
        return found, squares


@dataclass(frozen=True)
class Best:
    """The order of units that is nearest to the reference."""

    orders: list[Tensor] | None
    """For each axis group, the indices of our units [n], int32; None where no order is nearer than the present one."""
    before: float
    """The squared distance of the units' parameters from the reference's."""
    after: float


@dataclass
class _GroupCosts:
    """Costs of matching units of the reference [row] and of the model [column]: negative inner products."""

    costs: Costs
    ours: float = 0.0
    """The sum of squares of our parameters."""
    theirs: float = 0.0


def best_orders(units: Units, ours: Model, theirs: Model) -> Best:
    """Return the order of our units that is nearest to theirs."""
    groups = [_group_costs(units.count, uses, ours, theirs) for uses in units.axis_groups]
    orders = _assigned([group.costs for group in groups], units.blocks)
    now = sum(float(np.trace(group.costs)) for group in groups)
    then = sum(float(group.costs[np.arange(units.count), order].sum()) for group, order in zip(groups, orders, strict=True))
    own, other = sum(group.ours for group in groups), sum(group.theirs for group in groups)
    is_nearer = now - then > TOLERANCE * (own * other) ** 0.5
    found = [torch.from_numpy(order).int() for order in orders] if is_nearer else None
    before, after = (own + other + 2 * product for product in (now, then if is_nearer else now))
    least = TOLERANCE * (own + other)
    return Best(found, before if before > least else 0.0, after if after > least else 0.0)


def _group_costs(count: int, uses: tuple[AxisUse, ...], ours: Model, theirs: Model) -> _GroupCosts:
    costs = lying_in(ours.folder, (count, count), np.float64)
    group, rows = _GroupCosts(costs.numpy()), max(1, CHUNK // count)
    products = torch.empty(min(rows, count), count)
    for use in uses:
        (own, squares), (other, other_squares) = (model.values(use, count) for model in (ours, theirs))
        group.ours, group.theirs = group.ours + squares, group.theirs + other_squares
        for one, two in zip(_pieces(own), _pieces(other), strict=True):
            for first in range(0, count, rows):
                part = two[first : first + rows]
                group.costs[first : first + rows] -= torch.mm(part, one.T, out=products[: len(part)]).numpy()
    return group


def _pieces(values: Tensor) -> Iterator[Tensor]:
    """Yield pieces of a parameter [outer, units, inner] as [units, n]."""
    outer, count, inner = values.shape
    step = max(1, CHUNK // (count * inner))
    for first in range(0, outer, step):
        yield values[first : first + step].transpose(0, 1).reshape(count, -1)


def _assigned(groups: list[Costs], blocks: int) -> list[NDArray[np.int64]]:
    """Return the order of least cost for each group, columns by rows: blocks as wholes, then units inside of them."""
    size = len(groups[0]) // blocks
    totals = np.zeros((blocks, blocks))
    inside = np.zeros((len(groups), blocks, blocks, size), np.int64)
    for row in range(blocks):
        for column in range(blocks):
            for group, costs in enumerate(groups):
                block = costs[row * size : (row + 1) * size, column * size : (column + 1) * size]
                inside[group, row, column] = linear_sum_assignment(block)[1]
                totals[row, column] += block[np.arange(size), inside[group, row, column]].sum()
    chosen = linear_sum_assignment(totals)[1]
    return [np.concatenate([column * size + orders[row, column] for row, column in enumerate(chosen)]) for orders in inside]
