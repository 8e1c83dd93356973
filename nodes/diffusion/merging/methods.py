"""The arithmetic of merging: each function takes slices of the tensors of one name, flat and float32, and changes none."""

import math

import numpy as np
import torch
from torch import Tensor

from nodes.diffusion.handles.recipes import Merged
from nodes.diffusion.merging.tensor_statistics import Facts, Trim
from nodes.diffusion.randomness import seed_for

PARALLEL = 1e-6
"""Sine of the angle below which two tensors count as parallel."""
CHANCES = 2**16
"""DARE's chance to keep an entry is a multiple of 1 / CHANCES."""
BLOCK = 2**18
"""Entries that are drawn for by one generator."""
Draws = np.ndarray[tuple[int], np.dtype[np.uint16]]


def combined(merge: Merged, tensors: list[Tensor], weights: tuple[float, ...], facts: Facts, name: str, start: int) -> Tensor:
    """Return a slice of one tensor of the merge, which begins at entry `start`."""
    strength, others = weights[0], tensors[1:]
    match merge.method:
        case "weighted":
            return weighted(tensors, weights)
        case "add difference":
            return add_difference(tensors[0], tensors[1], tensors[2], strength)
        case "slerp":
            return weighted(tensors, slerp_weights(facts.products, strength))
        case "cosine":
            return weighted(tensors, cosine_weights(facts.products, strength))
        case "ties":
            return ties(tensors[0], others, facts.trims, strength, start)
        case "dare":
            draws = [drawn(merge.seed, f"{name} {n}", start, len(tensors[0])) for n in range(len(others))]
            return dare(tensors[0], others, merge.density, strength, draws)
        case "train difference":
            return train_difference(tensors[0], tensors[1], tensors[2], strength)
        case "VAE":
            return tensors[1]
        case "model stock":
            return add_mean_difference(tensors[0], others, model_stock_share(facts.products))


def weighted(tensors: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Sum of w_i X_i (Wortsman et al. 2022, Model soups, eq. 1 for equal w_i); one with all the weight comes out bit for bit."""
    used = [(tensor, weight) for tensor, weight in zip(tensors, weights, strict=True) if weight]
    if not used:
        return torch.zeros_like(tensors[0])
    first, weight = used[0]
    total = first * weight if weight != 1 or len(used) > 1 else first
    for tensor, weight in used[1:]:
        total.add_(tensor, alpha=weight)
    return total


def add_difference(a: Tensor, b: Tensor, c: Tensor, strength: float) -> Tensor:
    """A + m (B - C) (Ilharco et al. 2023, Editing models with task arithmetic, sec. 2)."""
    return (b - c).mul_(strength).add_(a) if strength else a


def train_difference(a: Tensor, b: Tensor, c: Tensor, strength: float) -> Tensor:
    """A + 1.8 m (B - C) |B - A| / (|B - C| + |B - A|), as the extension SuperMerger adds what training would have.

    Where A has already what B learned (B = A) nothing is added; the less alike they are, the more of the difference.
    """
    learned, lacking = b - c, (b - a).abs_()
    share = lacking.div_((learned.abs() + lacking).clamp_(min=torch.finfo(torch.float32).tiny))
    return learned.mul_(share).mul_(1.8 * strength).add_(a)


def slerp_weights(products: list[list[float]], ratio: float) -> tuple[float, float]:
    """sin((1-t) w)/sin(w) and sin(t w)/sin(w), w the angle between A and B (Shoemake 1985, sec. 3.3); straight where parallel."""
    angle = math.acos(_cosine(products, 0, 1))
    if ratio in (0, 1) or math.sin(angle) < PARALLEL:
        return 1 - ratio, ratio
    return math.sin((1 - ratio) * angle) / math.sin(angle), math.sin(ratio * angle) / math.sin(angle)


def cosine_weights(products: list[list[float]], ratio: float) -> tuple[float, float]:
    """1 - k and k = t (1 + cos(A, B)) / 2: the less alike two tensors are, the more of A stays."""
    share = ratio * (1 + _cosine(products, 0, 1)) / 2
    return 1 - share, share


def model_stock_share(products: list[list[float]]) -> float:
    """t = N cos / (1 + (N - 1) cos) (Jang et al. 2024, Model Stock, eq. 5), cos the mean over pairs, at least 0.

    A difference without length has no direction: t is 0 then.
    """
    number = len(products)
    if not all(products[i][i] for i in range(number)):
        return 0.0
    cosines = [_cosine(products, i, j) for i in range(number) for j in range(i)]
    cos = max(0.0, sum(cosines) / len(cosines))
    return number * cos / (1 + (number - 1) * cos)


def _cosine(products: list[list[float]], i: int, j: int) -> float:
    """From inner products; 1 where one has no length."""
    lengths = math.sqrt(products[i][i] * products[j][j])
    return max(-1.0, min(1.0, products[max(i, j)][min(i, j)] / lengths)) if lengths else 1.0


def add_mean_difference(base: Tensor, others: list[Tensor], share: float) -> Tensor:
    """Base + t (mean - base)."""
    if not share:
        return base + sum(others) * 0  # what is not finite must show
    return weighted([base, *others], (1 - share, *(share / len(others),) * len(others)))


def ties(base: Tensor, others: list[Tensor], trims: tuple[Trim, ...], strength: float, start: int) -> Tensor:
    """Trim, elect sign, mean of what agrees (Yadav et al. 2023, TIES-Merging, algorithm 1).

    Of every difference the `floor(density * n)` entries of largest size are kept, ties broken by place; zeros agree with none.
    """
    differences = [trim.trimmed(other - base, start) for other, trim in zip(others, trims, strict=True)]
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


def dare(base: Tensor, others: list[Tensor], density: float, strength: float, draws: list[Draws]) -> Tensor:
    """Drop each entry of a difference with chance 1 - d, divide the rest by d, add their mean (Yu et al. 2024, DARE, eq. 2-3)."""
    limit = max(1, round(density * CHANCES))
    total = torch.zeros_like(base)
    for other, draw in zip(others, draws, strict=True):
        difference = other - base
        if limit < CHANCES:
            values = difference.numpy()
            np.multiply(values, draw < limit, out=values)
        total += difference
    return total.mul_(strength * CHANCES / (limit * len(others))).add_(base)


def drawn(seed: int, name: str, start: int, count: int) -> Draws:
    """Return whole numbers below CHANCES, all as likely, for entries [start, start + count) of a tensor.

    Each block of entries has a generator of its own, so that an entry's number does not depend on how a tensor is sliced.
    """
    blocks = range(start - start % BLOCK, start + count, BLOCK)
    parts = [_numbers(seed_for(seed, name, block), min(BLOCK, start + count - block)) for block in blocks]
    return np.concatenate(parts)[start % BLOCK :] if len(parts) > 1 else parts[0][start % BLOCK :] if parts else _numbers(seed, 0)


def _numbers(seed: int, count: int) -> Draws:
    """Four from each number that the generator makes."""
    return np.random.SFC64(seed).random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
