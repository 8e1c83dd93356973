"""LoRA of a layer that a file fuses of several, such as queries, keys and values: what of it belongs to each."""

from collections.abc import Sequence

from torch import Tensor

from nodes.diffusion.errors import InputError

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
