"""Weight matching (Ainsworth, Hayase and Srinivasa 2022, "Git Re-Basin", algorithm 1) of hidden units.

The algorithm goes round until no order changes, as the best order of one layer depends on that of its neighbours. Here streams
between modules stay as they are, so that no parameter has two orders: each is found once, is the best, and needs no draw.
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
from nodes.diffusion.merging.plan import Plan
from nodes.diffusion.merging.read_tensors import Reader

CHUNK, SUMMED = 2**20, 2**16
"""Numbers that are multiplied at once, and squared at once."""
TOLERANCE = 1e-6
"""Of the norms' product or squares: less is rounding, and no gain."""
Costs = NDArray[np.float64]


@dataclass
class Model:
    """A recipe's parameters, one at a time, in files without names in a folder."""

    plan: Plan
    reader: Reader
    folder: Path
    socket: str
    """The input of the node that it comes from, which errors name."""

    def __post_init__(self) -> None:
        self.parts = all_parameters_in(self.plan.tensors)

    def values(self, use: AxisUse, count: int) -> tuple[Tensor, float]:
        """Return a parameter as [outer, units, inner], float32, and its squares' sum; raise InputError where it is not finite."""
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
    """The nearest order of units."""

    orders: list[Tensor] | None
    """For each side, from which of our units each comes [n], int32; None where no order is nearer than the present one."""
    before: float
    """Squared distance of the units' parameters from the reference's."""
    after: float


@dataclass
class _Side:
    """How unlike units of the reference [row] and of the model [column] are: inner products, negative."""

    costs: Costs
    ours: float = 0.0
    """Squares of our parameters, summed."""
    theirs: float = 0.0


def best_orders(units: Units, ours: Model, theirs: Model) -> Best:
    """Return the order of our units that lies nearest to theirs."""
    sides = [_side(units.count, uses, ours, theirs) for uses in units.sides]
    orders = _assigned([side.costs for side in sides], units.blocks)
    now = sum(float(np.trace(side.costs)) for side in sides)
    then = sum(float(side.costs[np.arange(units.count), order].sum()) for side, order in zip(sides, orders, strict=True))
    own, other = sum(side.ours for side in sides), sum(side.theirs for side in sides)
    is_nearer = now - then > TOLERANCE * (own * other) ** 0.5
    found = [torch.from_numpy(order).int() for order in orders] if is_nearer else None
    before, after = (own + other + 2 * product for product in (now, then if is_nearer else now))
    least = TOLERANCE * (own + other)
    return Best(found, before if before > least else 0.0, after if after > least else 0.0)


def _side(count: int, uses: tuple[AxisUse, ...], ours: Model, theirs: Model) -> _Side:
    costs = lying_in(ours.folder, (count, count), np.float64)
    side, rows = _Side(costs.numpy()), max(1, CHUNK // count)
    products = torch.empty(min(rows, count), count)
    for use in uses:
        (own, squares), (other, other_squares) = (model.values(use, count) for model in (ours, theirs))
        side.ours, side.theirs = side.ours + squares, side.theirs + other_squares
        for one, two in zip(_pieces(own), _pieces(other), strict=True):
            for first in range(0, count, rows):
                part = two[first : first + rows]
                side.costs[first : first + rows] -= torch.mm(part, one.T, out=products[: len(part)]).numpy()
    return side


def _pieces(values: Tensor) -> Iterator[Tensor]:
    """Yield pieces of a parameter [outer, units, inner] as [units, n]."""
    outer, count, inner = values.shape
    step = max(1, CHUNK // (count * inner))
    for first in range(0, outer, step):
        yield values[first : first + step].transpose(0, 1).reshape(count, -1)


def _assigned(sides: list[Costs], blocks: int) -> list[NDArray[np.int64]]:
    """Return the cheapest order of each side: columns by rows, blocks as wholes and units inside of them."""
    size = len(sides[0]) // blocks
    totals = np.zeros((blocks, blocks))
    inside = np.zeros((len(sides), blocks, blocks, size), np.int64)
    for row in range(blocks):
        for column in range(blocks):
            for side, costs in enumerate(sides):
                block = costs[row * size : (row + 1) * size, column * size : (column + 1) * size]
                inside[side, row, column] = linear_sum_assignment(block)[1]
                totals[row, column] += block[np.arange(size), inside[side, row, column]].sum()
    chosen = linear_sum_assignment(totals)[1]
    return [np.concatenate([column * size + orders[row, column] for row, column in enumerate(chosen)]) for orders in inside]
