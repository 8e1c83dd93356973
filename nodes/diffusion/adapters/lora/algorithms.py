"""The algorithms of LoRA and its family, one layer at a time: initial values, and the change of a weight.

A layer's tensors are named by their leaves, as in files of LyCORIS: `lora_A.weight` and `lora_B.weight` (there `lora_down`
and `lora_up`), `hada_w1_a`, `lokr_w1`, `b1.weight`, `ia3`, `dora_scale`, `diff`. The set of leaves defines the algorithm.
An additional `alpha` [] gives the scale where it is not the whole adapter's.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nodes.diffusion.handles.adapters import LowRankAdapter

Leaves = Mapping[str, Tensor]
PLAIN = frozenset({"lora_A.weight", "lora_B.weight"})
KAIMING = ("lora_A.weight", "lokr_w1", "lokr_w2_a")
"""Leaves with uniform initial values (Kaiming, a = sqrt 5)."""
DEVIATIONS = {"hada_w1_a": 0.1, "hada_w1_b": 1.0, "hada_w2_b": 1.0}
"""Leaves with normal initial values, and their standard deviation."""
DEPENDING = {"dora_scale": "a DoRA", "a1.weight": "a GLoRA", "ia3": "(IA)3", "set_weight": "a weight that is set"}
"""Leaves whose change depends on the weight itself, and their adapters."""


def is_plain(leaves: Leaves) -> bool:
    """Return whether a layer has B A alone."""
    return frozenset(leaves) - {"alpha"} == PLAIN


def scale_of(leaves: Leaves, scale: float) -> float:
    """Return the scale of a layer's product: its own alpha / rank if it has one, `scale` of the adapter otherwise."""
    rank = rank_of(leaves)
    if not rank:
        return 1.0
    return float(leaves["alpha"]) / rank if "alpha" in leaves else scale


def weight_change(leaves: Leaves, weight: Tensor, scale: float) -> Tensor:
    """Return W' - W, in the weight's shape and float32, for a layer whose own weight is W.

    LoRA: s B A (Hu et al. 2021). LoHa: s (w1a w1b) * (w2a w2b) (Hyeon-Woo et al. 2022). LoKr: s w1 (x) w2, unscaled where
    both factors are whole (Yeh et al. 2024). GLoRA: s (b1 b2 + W a1 a2), a along the inputs (Chavan et al. 2023). (IA)3: W
    times a vector along inputs or outputs (Liu et al. 2022). With `dora_scale` m: m (W + D) / |W + D| - W (Liu et al. 2024,
    eq. 5), the norm along the axis that m has; it is taken as a constant by gradients, as in the paper's section 4.3.
    """
    own = weight.detach().float() if leaves.keys() & DEPENDING.keys() else weight
    if "set_weight" in leaves:
        return leaves["set_weight"] - own
    if "ia3" in leaves:
        return own * leaves["ia3"]
    change = product(leaves).reshape(weight.shape)
    if "a1.weight" in leaves:
        change = change + seen_through(leaves, own)
    if rank_of(leaves):
        change = scale_of(leaves, scale) * change
    magnitude = leaves.get("dora_scale")
    if magnitude is None:
        return change
    changed = own + change
    # in this order a zero change stays exactly zero: the quotient is 1
    return changed * (magnitude / norms(changed.detach(), magnitude.shape)) - own


def fits(leaves: Leaves, shape: tuple[int, ...]) -> bool:
    """Return whether a layer's tensors, by their shapes, make a change of a weight of this shape."""
    shadows = {leaf: torch.empty(tensor.shape, device="meta") for leaf, tensor in leaves.items() if leaf != "alpha"}
    try:
        change = weight_change(shadows, torch.empty(shape, device="meta"), 1.0)
        rows = change if shadows.keys() & {"set_weight", "ia3"} else product(shadows)
    except (RuntimeError, IndexError):  # torch's errors for incompatible shapes
        return False
    whole = change.shape == shape and rows.shape[0] == shape[0]
    return whole and ("diff_b" not in leaves or leaves["diff_b"].shape == shape[:1])


def product(leaves: Leaves) -> Tensor:
    """Return the unscaled change of a weight, its kernel flattened or not."""
    if "lora_A.weight" in leaves:
        return leaves["lora_B.weight"].flatten(1) @ leaves["lora_A.weight"].flatten(1)
    if "hada_w1_a" in leaves:
        return (leaves["hada_w1_a"] @ leaves["hada_w1_b"]) * (leaves["hada_w2_a"] @ leaves["hada_w2_b"])
    if "diff" in leaves:
        return leaves["diff"]
    if "b1.weight" in leaves:
        return leaves["b1.weight"] @ leaves["b2.weight"].flatten(1)
    return torch.kron(_factor(leaves, "lokr_w1"), _factor(leaves, "lokr_w2"))


def product_rows(leaves: Leaves, begin: int, end: int) -> Tensor:
    """Return rows of the unscaled change of a weight, [end - begin, the rest flattened], without computing the others."""
    for sides in (("lora_B.weight",), ("hada_w1_a", "hada_w2_a"), ("diff",), ("b1.weight",)):
        if sides[0] in leaves:
            return product({**leaves, **{side: leaves[side][begin:end] for side in sides}}).reshape(end - begin, -1)
    small, large = _factor(leaves, "lokr_w1"), _factor(leaves, "lokr_w2")
    high = len(large)
    first = begin // high
    return torch.kron(small[first : -(-end // high)], large)[begin - first * high : end - first * high]


def seen_through(leaves: Leaves, rows: Tensor) -> Tensor:
    """Return W a1 a2 for rows of a weight [rows, in, ...], GLoRA's term beside the product."""
    return torch.einsum("oi...,ir,rj->oj...", rows, leaves["a1.weight"], leaves["a2.weight"])


def _factor(leaves: Leaves, name: str) -> Tensor:
    whole = leaves.get(name)
    return leaves[f"{name}_a"] @ leaves[f"{name}_b"] if whole is None else whole.flatten(1)


def rank_of(leaves: Leaves) -> int:
    """Return the inner dimension that alpha is divided by; 0 without factors, where alpha has no meaning."""
    for name in ("lora_A.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "b2.weight"):
        if name in leaves:
            return leaves[name].shape[0]
    return 0


def norms(weight: Tensor, shape: torch.Size) -> Tensor:
    """Return a weight's norms in the shape of a magnitude: [1, in, ...] along inputs, [out, 1, ...] along outputs."""
    kept = 0 if shape[0] == weight.shape[0] else 1
    others = [axis for axis in range(weight.dim()) if axis != kept]
    return torch.linalg.vector_norm(weight, dim=others, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def empty_leaves(adapter: LowRankAdapter, weight: Tensor) -> dict[str, Tensor]:
    """Return an adapter's tensors for a layer on the CPU, uninitialized except for magnitudes."""
    rank, (outputs, inputs, *kernel) = adapter.rank, weight.shape
    if adapter.algorithm == "loha":
        sides = {"a": (outputs, rank), "b": (rank, inputs * math.prod(kernel))}
        shapes: dict[str, tuple[int, ...]] = {f"hada_w{n}_{side}": shape for n in (1, 2) for side, shape in sides.items()}
    elif adapter.algorithm == "lokr":
        shapes = _lokr_shapes(adapter, weight.shape)
    else:
        shapes = {"lora_A.weight": (rank, inputs, *kernel), "lora_B.weight": (outputs, rank, *(1 for _ in kernel))}
    leaves = {name: torch.empty(shape) for name, shape in shapes.items()}
    if adapter.algorithm == "dora":
        leaves["dora_scale"] = norms(weight.detach().float(), torch.Size([1, inputs])).cpu()
    return leaves


def _lokr_shapes(adapter: LowRankAdapter, shape: torch.Size) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a whole small factor, and of a large one, in low rank where that is smaller."""
    outputs, inputs, *kernel = shape
    (small_out, large_out), (small_in, large_in) = (split(size, adapter.factor) for size in (outputs, inputs))
    first: dict[str, tuple[int, ...]] = {"lokr_w1": (small_out, small_in)}
    if 2 * adapter.rank < max(large_out, large_in):
        second = {"lokr_w2_a": (large_out, adapter.rank), "lokr_w2_b": (adapter.rank, large_in * math.prod(kernel))}
        return first | second
    return first | {"lokr_w2": (large_out, large_in, *kernel)}


def split(size: int, factor: int) -> tuple[int, int]:
    """Return two numbers whose product is `size`: the smaller is the largest that does not exceed `factor`."""
    smaller = next(number for number in range(min(factor, math.isqrt(size)), 0, -1) if size % number == 0)
    return smaller, size // smaller


def begin(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Draw a leaf's initial values in place; one factor of each product is 0, so that an untrained adapter changes nothing."""
    if name in KAIMING:
        nn.init.kaiming_uniform_(tensor, a=math.sqrt(5), generator=generator)
    elif name in DEVIATIONS:
        nn.init.normal_(tensor, std=DEVIATIONS[name], generator=generator)
    elif name != "dora_scale":
        tensor.zero_()
