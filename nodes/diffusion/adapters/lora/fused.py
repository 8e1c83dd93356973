"""LoRA of a layer that a file fuses of several, such as queries, keys and values: split into theirs, and put together again."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import Leaves, is_plain
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Rows

SHARED = {"lora_A.weight", "lora_mid", "alpha"}
"""What acts before the rows are told apart."""
BY_ROW = {"lora_B.weight", "diff", "diff_b"}


def split_rows(name: str, leaf: str, tensor: Tensor, rows: Sequence[int]) -> Sequence[Tensor]:
    """Return the tensor of each of several layers that are fused, with so many rows each; of one layer, it is the tensor itself.

    B A of all rows is B's rows of each, times the same A. Raises InputError for products that cannot be split exactly.
    """
    if len(rows) == 1:
        return [tensor]
    if leaf in SHARED:
        return [tensor.clone() for _ in rows]  # files cannot hold one tensor under several names
    if leaf in BY_ROW and len(tensor) == sum(rows):
        return [part.clone() for part in tensor.split(list(rows))]
    message = f"{name} changes queries, keys and values as one, which cannot be split exactly."
    raise InputError(message, field="file", remedy="Choose a plain LoRA, or one that names to_q, to_k and to_v apart.")


def without_others(leaves: Leaves) -> dict[str, Tensor]:
    """Return a split layer's tensors without the rows of A that belong to the other layers alone: B has zeros for them.

    So does a layer come back with its own rank that `fuse` has stacked upon others.
    """
    if not is_plain(leaves):
        return dict(leaves)
    up = leaves["lora_B.weight"]
    used = up.any(dim=0)
    if not used.any():
        used[0] = True
    return {**leaves, "lora_A.weight": leaves["lora_A.weight"][used], "lora_B.weight": up[:, used]}


def fuse(parts: Mapping[Rows, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return A [sum of ranks, in] and B [rows of all, sum of ranks] of layers that a file fuses, some of which may have no LoRA.

    The A are stacked, and each B takes its own rows and columns: the product is that of each layer in its rows, and zero
    elsewhere.
    """
    ordered = [(rows, *parts[rows]) for rows in sorted(parts, key=lambda rows: rows.index)]
    first, _, up = ordered[0]
    count = len(up) // first.shares[first.index] * sum(first.shares)
    whole = torch.zeros(count, sum(len(down) for _, down, _ in ordered), dtype=up.dtype)
    column = 0
    for rows, down, up in ordered:
        place = rows.of(count)
        whole[place.start : place.stop, column : column + len(down)] = up
        column += len(down)
    return torch.cat([down for _, down, _ in ordered]), whole
