"""The merge methods: each takes slices of the tensors of one name, flat and float32, and changes none."""

import math

import numpy as np
import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.recipes import Merged
from nodes.diffusion.merging.merge_method import METHODS, MergeMethod, merge_method
from nodes.diffusion.merging.tensor_statistics import (
    Products,
    Trim,
    inner_products,
    inner_products_of_differences,
    largest_differences,
)
from nodes.diffusion.randomness import seed_for

PARALLEL = 1e-6
"""Sine of the angle below which two tensors count as parallel."""
CHANCES = 2**16
"""DARE's probability of keeping an entry is a multiple of 1 / CHANCES."""
BLOCK = 2**18
"""The number of entries per random generator."""
Random = np.ndarray[tuple[int], np.dtype[np.uint16]]


def method_of(merge: Merged) -> MergeMethod:
    """Return the method of a recipe; raise InputError when there is none of its name, or it cannot merge by blocks."""
    if merge.method not in METHODS:
        remedy = "Install the package that it comes with, or use another merge node."
        raise InputError(f"there is no merge method {merge.method!r}.", field="checkpoint", remedy=remedy)
    method = METHODS[merge.method]
    if merge.blocks and "strength" in method.takes:  # a block's ratio is the weight of the second input, strength is the first's
        message = f"the merge method {merge.method!r} has one strength, so it takes no ratios of blocks."
        raise InputError(message, field="checkpoint", remedy="Use MergeBlockWeighted.")
    return method


@merge_method("weighted")
def weighted(tensors: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Sum of w_i X_i (Wortsman et al. 2022, Model soups, eq. 1 for equal w_i); exactly X_i where w_i is the only weight."""
    used = [(tensor, weight) for tensor, weight in zip(tensors, weights, strict=True) if weight]
    if not used:
        return torch.zeros_like(tensors[0])
    first, weight = used[0]
    total = first * weight if weight != 1 or len(used) > 1 else first
    for tensor, weight in used[1:]:
        total.add_(tensor, alpha=weight)
    return total


@merge_method("add difference")
def add_difference(tensors: list[Tensor], strength: float) -> Tensor:
    """A + m (B - C) (Ilharco et al. 2023, Editing models with task arithmetic, sec. 2)."""
    a, b, c = tensors
    return (b - c).mul_(strength).add_(a) if strength else a


@merge_method("train difference")
def train_difference(tensors: list[Tensor], strength: float) -> Tensor:
    """A + 1.8 m (B - C) |B - A| / (|B - C| + |B - A|), as the extension SuperMerger adds what training would have.

    Where A equals B nothing is added; the less similar they are, the more of the difference.
    """
    a, b, c = tensors
    learned, lacking = b - c, (b - a).abs_()
    share = lacking.div_((learned.abs() + lacking).clamp_(min=torch.finfo(torch.float32).tiny))
    return learned.mul_(share).mul_(1.8 * strength).add_(a)


@merge_method("VAE")
def replace_vae(tensors: list[Tensor]) -> Tensor:
    """B: only tensors of a VAE get here."""
    return tensors[1]


@merge_method("slerp", needs=inner_products)
def slerp(tensors: list[Tensor], strength: float, statistics: Products) -> Tensor:
    """Spherical interpolation of whole tensors (Shoemake 1985, Animating rotation with quaternion curves, sec. 3.3)."""
    return weighted(tensors, slerp_weights(statistics, strength))


def slerp_weights(products: Products, ratio: float) -> tuple[float, float]:
    """sin((1-t) w)/sin(w) and sin(t w)/sin(w), w the angle between A and B (Shoemake 1985, sec. 3.3); straight where parallel."""
    angle = math.acos(_cosine(products, 0, 1))
    if ratio in (0, 1) or math.sin(angle) < PARALLEL:
        return 1 - ratio, ratio
    return math.sin((1 - ratio) * angle) / math.sin(angle), math.sin(ratio * angle) / math.sin(angle)


@merge_method("cosine", needs=inner_products)
def cosine(tensors: list[Tensor], strength: float, statistics: Products) -> Tensor:
    """Weighted mean of A and B, with less weight on B the less similar they are."""
    return weighted(tensors, cosine_weights(statistics, strength))


def cosine_weights(products: Products, ratio: float) -> tuple[float, float]:
    """1 - k and k = t (1 + cos(A, B)) / 2: the less similar two tensors are, the more of A stays."""
    share = ratio * (1 + _cosine(products, 0, 1)) / 2
    return 1 - share, share


@merge_method("model stock", needs=inner_products_of_differences)
def model_stock(tensors: list[Tensor], statistics: Products) -> Tensor:
    """Base + t (mean - base), t from the angles between the differences (Jang et al. 2024, Model Stock, eq. 5)."""
    return add_mean_difference(tensors[0], tensors[1:], model_stock_share(statistics))


def model_stock_share(products: Products) -> float:
    """t = N cos / (1 + (N - 1) cos) (Jang et al. 2024, Model Stock, eq. 5), cos the mean over pairs, at least 0.

    t is 0 when a difference is zero, as it has no direction.
    """
    number = len(products)
    if not all(products[i][i] for i in range(number)):
        return 0.0
    cosines = [_cosine(products, i, j) for i in range(number) for j in range(i)]
    cos = max(0.0, sum(cosines) / len(cosines))
    return number * cos / (1 + (number - 1) * cos)


def _cosine(products: Products, i: int, j: int) -> float:
    """Return the cosine from inner products; 1 where a vector is zero."""
    lengths = math.sqrt(products[i][i] * products[j][j])
    return max(-1.0, min(1.0, products[max(i, j)][min(i, j)] / lengths)) if lengths else 1.0


def add_mean_difference(base: Tensor, others: list[Tensor], share: float) -> Tensor:
    """Base + t (mean - base)."""
    if not share:
        return base + sum(others) * 0  # keeps NaN and infinity
    return weighted([base, *others], (1 - share, *(share / len(others),) * len(others)))


@merge_method("ties", needs=largest_differences)
def ties(tensors: list[Tensor], strength: float, density: float, statistics: tuple[Trim, ...], start: int) -> Tensor:
    """Trim, elect sign, mean of what agrees (Yadav et al. 2023, TIES-Merging, algorithm 1).

    Of every difference the `floor(density * n)` entries of largest size are kept, ties broken by position; zeros agree with none.
    `density` is a parameter because the metadata of the merge lists its method's parameters.
    """
    base, *others = tensors
    differences = [trim.trimmed(other - base, start) for other, trim in zip(others, statistics, strict=True)]
    sign = differences[0].clone() if len(differences) == 1 else differences[0] + differences[1]
    for difference in differences[2:]:
        sign += difference
    sign.sign_()
    total, count = torch.zeros_like(base), torch.zeros_like(base)
    for difference in differences:
        agreeing = difference.mul_(sign).clamp_(min=0)
        total += agreeing
        count += agreeing.sign_()
    return total.mul_(sign).div_(count.clamp_(min=1)).mul_(strength).add_(base)


@merge_method("dare")
def dare(tensors: list[Tensor], strength: float, density: float, seed: int, name: str, start: int) -> Tensor:
    """Drop each entry of a difference with probability 1 - d, divide the rest by d, add their mean (Yu et al. 2024, DARE)."""
    base, *others = tensors
    limit = max(1, round(density * CHANCES))
    total = torch.zeros_like(base)
    for number, other in enumerate(others):
        difference = other - base
        if limit < CHANCES:
            random = random_numbers(seed, f"{name} {number}", start, len(base))
            values = difference.numpy()
            np.multiply(values, random < limit, out=values)
        total += difference
    return total.mul_(strength * CHANCES / (limit * len(others))).add_(base)


def random_numbers(seed: int, name: str, start: int, count: int) -> Random:
    """Return uniform whole numbers below CHANCES for entries [start, start + count) of a tensor.

    Each block of entries has a generator of its own, so that an entry's number does not depend on how a tensor is sliced.
    """
    blocks = range(start - start % BLOCK, start + count, BLOCK)
    parts = [_numbers(seed_for(seed, name, block), min(BLOCK, start + count - block)) for block in blocks]
    return np.concatenate(parts)[start % BLOCK :] if len(parts) > 1 else parts[0][start % BLOCK :] if parts else _numbers(seed, 0)


def _numbers(seed: int, count: int) -> Random:
    """Return random numbers, four from each 64-bit number of the generator."""
    return np.random.SFC64(seed).random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
