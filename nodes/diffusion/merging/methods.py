"""The arithmetic of merging: each function takes the tensors of one name, float32 and of one shape, and changes none."""

import math

import torch
from torch import Tensor

from nodes.diffusion.merging.values import Merged
from nodes.diffusion.randomness import generator_for

ELEMENTWISE = ("weighted", "add difference", "dare")
"""Methods that can be carried out slice by slice."""
PARALLEL = 1e-6
"""Sine of the angle below which two tensors count as parallel."""


def combined(merge: Merged, tensors: list[Tensor], weights: tuple[float, ...], name: str, start: int) -> Tensor:
    """Return one tensor of the merge, or its slice that begins at entry `start`."""
    strength, others = weights[0], tensors[1:]
    match merge.method:
        case "weighted":
            return weighted(tensors, weights)
        case "add difference":
            return add_difference(tensors[0], tensors[1], tensors[2], strength)
        case "slerp":
            return slerp(tensors[0], tensors[1], strength)
        case "cosine":
            return cosine(tensors[0], tensors[1], strength)
        case "ties":
            return ties(tensors[0], others, merge.density, strength)
        case "dare":
            generators = [generator_for(merge.seed, f"{name} {n}", start) for n in range(len(others))]
            return dare(tensors[0], others, merge.density, strength, generators)
        case "model stock":
            return model_stock(tensors[0], others)


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


def slerp(a: Tensor, b: Tensor, ratio: float) -> Tensor:
    """sin((1-t) w)/sin(w) A + sin(t w)/sin(w) B, w the angle between them (Shoemake 1985, sec. 3.3); straight where parallel."""
    lengths = float(a.norm()) * float(b.norm())
    cos = max(-1.0, min(1.0, float(torch.dot(a.flatten(), b.flatten())) / lengths)) if lengths else 1.0
    angle = math.acos(cos)
    if ratio in (0, 1) or math.sin(angle) < PARALLEL:
        return weighted([a, b], (1 - ratio, ratio))
    parts = math.sin((1 - ratio) * angle) / math.sin(angle), math.sin(ratio * angle) / math.sin(angle)
    return weighted([a, b], parts)


def cosine(a: Tensor, b: Tensor, ratio: float) -> Tensor:
    """(1 - k) A + k B with k = t (1 + cos(A, B)) / 2: the less alike two tensors are, the more of A stays."""
    lengths = float(a.norm()) * float(b.norm())
    cos = float(torch.dot(a.flatten(), b.flatten())) / lengths if lengths else 1.0
    share = ratio * (1 + max(-1.0, min(1.0, cos))) / 2
    return weighted([a, b], (1 - share, share))


def ties(base: Tensor, others: list[Tensor], density: float, strength: float) -> Tensor:
    """Trim, elect sign, mean of what agrees (Yadav et al. 2023, TIES-Merging, algorithm 1).

    Of every difference the `floor(density * n)` entries of largest size are kept, ties broken by place; zeros agree with none.
    """
    total, count = torch.zeros_like(base), torch.zeros_like(base)
    differences = [_trimmed(other - base, density) for other in others]
    sign = sum(differences[1:], differences[0]).sign()
    for difference in differences:
        agrees = (difference.sign() == sign) & (sign != 0)
        total += difference * agrees
        count += agrees
    return base + strength * total / count.clamp_(min=1)


def _trimmed(difference: Tensor, density: float) -> Tensor:
    kept = math.floor(density * difference.numel())
    if kept == difference.numel():
        return difference
    if not kept:
        return torch.zeros_like(difference)
    sizes = difference.abs().flatten()
    smallest = sizes.kthvalue(sizes.numel() - kept + 1).values
    larger = sizes > smallest
    larger[(sizes == smallest).nonzero().flatten()[: kept - int(larger.sum())]] = True
    return difference * larger.view_as(difference)


def dare(base: Tensor, others: list[Tensor], density: float, strength: float, generators: list[torch.Generator]) -> Tensor:
    """Drop each entry of a difference with chance 1 - d, divide the rest by d, add their mean (Yu et al. 2024, DARE, eq. 2-3)."""
    total = torch.zeros_like(base)
    for other, generator in zip(others, generators, strict=True):
        kept = torch.rand(base.shape, generator=generator) < density
        total += (other - base) * kept
    return total.mul_(strength / (density * len(others))).add_(base)


def model_stock(base: Tensor, others: list[Tensor]) -> Tensor:
    """t mean + (1 - t) base, t = N cos / (1 + (N - 1) cos) (Jang et al. 2024, Model Stock, eq. 5).

    cos is the mean over pairs of the cosine between differences, at least 0; a difference without length has none.
    """
    differences = [(other - base).flatten() for other in others]
    lengths = [float(difference.norm()) for difference in differences]
    pairs = [(i, j) for i in range(len(others)) for j in range(i)]
    if not all(lengths):
        return base
    cosines = [float(torch.dot(differences[i], differences[j])) / (lengths[i] * lengths[j]) for i, j in pairs]
    cos = max(0.0, min(1.0, sum(cosines) / len(cosines)))
    share = len(others) * cos / (1 + (len(others) - 1) * cos)
    return base + (sum(differences[1:], differences[0]) * (share / len(others))).view_as(base)
