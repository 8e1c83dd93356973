"""The best factors of low rank: of a whole change of a weight, and of a product of factors, which is never multiplied out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import DEPENDING, PLAIN, Leaves, product, scale_of
from nodes.diffusion.devices import one_thread
from nodes.diffusion.errors import InputError

COLUMNS = 4096
"""Columns of a matrix that are in float64 at once."""
ROUNDING = 1e-15
"""Squared singular values below this share of the largest are what rounding left."""


@dataclass(frozen=True)
class Factors:
    """B [out, rank] and A [rank, in] of a change, both as large as each other; singular values that were dropped are told."""

    up: Tensor
    down: Tensor
    squares: float
    """Sum of the squares of all singular values, which is that of all numbers of the change."""
    lost: float
    """Sum of the squares of those that were dropped: the squared error (Eckart and Young 1936)."""


def kept_rank(squares: Tensor, rank: int, energy: float) -> int:
    """Return how many singular values are kept, at least 1: as few as hold a share of the sum of squares, at most `rank`.

    `squares` [n] are the squared singular values, falling.
    """
    count = int((squares > ROUNDING * squares[0]).sum())
    if energy < 1:
        count = min(count, 1 + int((squares.cumsum(0) < energy * squares.sum()).sum()))
    return max(1, min(rank, count))


@one_thread()
def factored(change: Tensor, rank: int, energy: float) -> Factors:
    """Return the best factors of a matrix [out, in]: it is projected onto the leading singular vectors of its shorter side.

    These are the eigenvectors of its Gram matrix in float64, which a float32 matrix's singular values survive, and which costs
    a fraction of a whole SVD.
    """
    if change.shape[0] > change.shape[1]:
        turned = factored(change.T, rank, energy)
        return Factors(turned.down.T, turned.up.T, turned.squares, turned.lost)
    gram = torch.zeros(len(change), len(change), dtype=torch.float64)
    for columns in change.split(COLUMNS, dim=1):
        wide = columns.double()
        gram.addmm_(wide, wide.T)
    squares, vectors = torch.linalg.eigh(gram)
    squares, vectors = squares.flip(0).clamp(min=0), vectors.flip(1)
    kept = kept_rank(squares, rank, energy)
    up = _signed(vectors[:, :kept].float())
    sizes = _sizes(squares[:kept].sqrt())
    return Factors(up * sizes, (up.T @ change) / sizes[:, None], float(squares.sum()), float(squares[kept:].sum()))


@one_thread()
def refactored(up: Tensor, down: Tensor, rank: int, energy: float) -> Factors:
    """Return the best factors of `up` [out, r] times `down` [r, in]: QR of both, SVD of the small core between them."""
    left, left_core = torch.linalg.qr(up.double())
    right, right_core = torch.linalg.qr(down.double().T)
    inner, values, outer = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    squares = values.square()
    kept = kept_rank(squares, rank, energy)
    sizes = _sizes(values[:kept])
    found = (left @ inner[:, :kept]) * values[:kept] / sizes, (outer[:kept] @ right.T) * sizes[:, None]
    return Factors(found[0].float(), found[1].float(), float(squares.sum()), float(squares[kept:].sum()))


def _sizes(values: Tensor) -> Tensor:
    """Roots of singular values, by which both factors become as large as each other; never 0."""
    return values.clamp(min=max(float(values[0]) * math.sqrt(ROUNDING), torch.finfo(torch.float32).tiny)).sqrt().float()


def _signed(vectors: Tensor) -> Tensor:
    """Columns whose largest entry is positive: else their sign would be the library's whim."""
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    return vectors * largest.sign()


def plain_factors(leaves: Leaves, scale: float, shape: tuple[int, ...], socket: str = "model") -> tuple[Tensor, Tensor]:
    """Return B [out, r] and A [r, the rest] whose product is what a layer's tensors add to a weight of this shape, exactly.

    Raises InputError, which names `socket`, for what depends on the weight, such as a DoRA.
    """
    if kind := next((kind for leaf, kind in DEPENDING.items() if leaf in leaves), None):
        remedy = "Bake it with BakeLoRA, and take the difference with ExtractLoRA."
        raise InputError(f"what {kind} changes depends on the model's weights.", field=socket, remedy=remedy)
    scaled = scale_of(leaves, scale)
    if leaves.keys() >= PLAIN:
        return leaves["lora_B.weight"].flatten(1) * scaled, leaves["lora_A.weight"].flatten(1)
    whole = factored(product(leaves).reshape(shape[0], -1) * scaled, min(shape[0], math.prod(shape[1:])), 1.0)
    return whole.up, whole.down
