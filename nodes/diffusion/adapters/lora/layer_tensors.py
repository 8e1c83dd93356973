"""One layer's tensors as files have them, made into those that `weight_change` takes: complete, and checked against the layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import Leaves, fits, rank_of

TUCKER = (("hada_w1", "hada_t1"), ("hada_w2", "hada_t2"), ("lokr_w2", "lokr_t2"))
"""Pairs [rank, out] and [rank, in] with a middle [rank, rank, kernel] between them."""
WHOLE = ("lokr_w2", "diff", "set_weight")
"""Matrices that may have a kernel, which must then be the layer's."""
KINDS = {"lora_A.weight": "LoRA", "hada_w1_a": "LoHa", "lokr": "LoKr", "b1.weight": "GLoRA", "ia3": "(IA)3"} | {
    "diff": "a whole difference",
    "set_weight": "a whole weight",
}
"""What a layer's tensors are, by how one of their names begins; `diff_b` goes with all."""


def kinds_of(leaves: Leaves) -> list[str]:
    """Return what a layer's tensors are; more than one would not be told apart."""
    return [kind for start, kind in KINDS.items() if any(leaf.startswith(start) and leaf != "diff_b" for leaf in leaves)]


def complete(leaves: Leaves, shape: torch.Size) -> dict[str, Tensor]:
    """Return a layer's tensors without alpha, middles multiplied in; KeyError or RuntimeError where they are no change of it.

    Everything is tried with shapes alone first: what does not fit must not be multiplied out.
    """
    kept = _seen_at_once({leaf: tensor for leaf, tensor in leaves.items() if leaf != "alpha"}, shape)
    _put_together({leaf: tensor.to("meta") for leaf, tensor in kept.items()}, shape)
    return {leaf: tensor.contiguous() for leaf, tensor in _put_together(kept, shape).items()}


def _put_together(leaves: Leaves, shape: torch.Size) -> dict[str, Tensor]:
    folded, kernel = _folded(leaves, tuple(shape[2:])), _stripped(shape[2:])
    if "lora_A.weight" in folded:  # a linear layer's may be written as a 1x1 convolution's, and the other way round
        rank = rank_of(folded)
        inner, outer = (_stripped(folded[name].shape[side:]) for name, side in (("lora_A.weight", 1), ("lora_B.weight", 0)))
        if inner not in (_stripped(shape[1:]), _stripped((shape[1:].numel(),))) or outer != _stripped((shape[0], rank)):
            raise RuntimeError
        folded["lora_A.weight"] = folded["lora_A.weight"].reshape(rank, *shape[1:])
        folded["lora_B.weight"] = folded["lora_B.weight"].reshape(shape[0], rank, *(1 for _ in shape[2:]))
    if any(leaf in folded and _stripped(folded[leaf].shape[2:]) not in ((), kernel) for leaf in WHOLE):
        raise RuntimeError
    if not set(folded) - {"diff_b"}:
        folded["diff"] = torch.zeros(shape, device=folded["diff_b"].device)
    if not fits(folded, tuple(shape)):
        raise RuntimeError
    return folded


def _stripped(sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes without the ones at their end, by which a 1x1 convolution differs from a linear layer."""
    return _stripped(sizes[:-1]) if sizes and sizes[-1] == 1 else tuple(sizes)


def _folded(leaves: Leaves, kernel: tuple[int, ...]) -> dict[str, Tensor]:
    """The leaves without Tucker's middle matrices, which are multiplied into their neighbours."""
    folded = dict(leaves)
    if (middle := folded.pop("lora_mid", None)) is not None:
        folded["lora_A.weight"] = _through(middle, folded["lora_A.weight"].flatten(1), kernel)
    for pair, name in TUCKER:
        if (middle := folded.pop(name, None)) is not None:
            folded[f"{pair}_a"] = folded[f"{pair}_a"].T
            folded[f"{pair}_b"] = _through(middle, folded[f"{pair}_b"], kernel).flatten(1)
    return folded


def _through(middle: Tensor, inner: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """A middle [rank, rank, kernel] times [rank, in]."""
    if middle.shape[2:] != kernel:
        raise RuntimeError
    return torch.einsum("pqhw,qi->pihw", middle, inner)


def _seen_at_once(leaves: dict[str, Tensor], shape: torch.Size) -> dict[str, Tensor]:
    """The leaves with magnitudes, vectors and GLoRA's matrices turned as the layer needs them; nothing is multiplied."""
    if "dora_scale" in leaves:
        leaves["dora_scale"] = _magnitude(leaves["dora_scale"], shape)
    if (vector := leaves.pop("lora_magnitude_vector", None)) is not None:  # PEFT's runs along outputs in every shape it has
        leaves["dora_scale"] = _along(vector, 0, shape)
    if "ia3" in leaves:
        leaves["ia3"] = _along(leaves["ia3"], 1 if bool(leaves.pop("on_input")) else 0, shape)
    if "b1.weight" in leaves:
        leaves |= _turned({name: leaves[name].flatten(1) for name in ("a1.weight", "a2.weight", "b1.weight", "b2.weight")}, shape)
    return leaves


def _magnitude(tensor: Tensor, shape: torch.Size) -> Tensor:
    """LyCORIS' magnitude, along the weight's inputs [1, in, ...] or its outputs [out, 1, ...]."""
    return _along(tensor, 0 if tensor.dim() == 1 or tensor.shape[0] == shape[0] else 1, shape)


def _along(vector: Tensor, axis: int, shape: torch.Size) -> Tensor:
    return vector.reshape([size if number == axis else 1 for number, size in enumerate(shape)])


def _turned(factors: dict[str, Tensor], shape: torch.Size) -> dict[str, Tensor]:
    """GLoRA's factors as b1 [out, r], b2 [r, in], a1 [in, r], a2 [r, in]; LyCORIS' first files have each pair turned round."""
    a1, a2, b1, b2 = (factors[name] for name in ("a1.weight", "a2.weight", "b1.weight", "b2.weight"))
    old = a1.shape[0] == a2.shape[1] == b1.shape[0] == b2.shape[1] and b2.shape[0] == shape[0]
    if not old:
        return factors
    return {"a1.weight": a2, "a2.weight": a1, "b1.weight": b2, "b2.weight": b1}
