"""Tensors converted from one layout's form to the other's."""

import torch
from torch import Tensor

from nodes.diffusion.families.protocol import Conversion, Rows


def to_folder(tensor: Tensor, conversion: Conversion) -> Tensor:
    """Return a single file's tensor as a folder has it, a view unless halves are swapped."""
    if conversion == "conv":
        return tensor.reshape(tensor.shape[:2])
    if conversion == "transposed":
        return tensor.T
    if conversion == "swapped":
        return swapped(tensor)
    if isinstance(conversion, Rows):
        rows = conversion.of(len(tensor))
        return tensor[rows.start : rows.stop]
    return tensor


def swapped(tensor: Tensor) -> Tensor:
    """Return a tensor with the second half of its rows before the first."""
    return torch.cat(tensor.chunk(2)[::-1])


def shape_in_folder(shape: tuple[int, ...], conversion: Conversion) -> tuple[int, ...]:
    """Return the shape that `to_folder` gives to a tensor of this shape."""
    if conversion == "conv":
        return shape[:2]
    if conversion == "transposed":
        return shape[::-1]
    return (len(conversion.of(shape[0])), *shape[1:]) if isinstance(conversion, Rows) else shape


def write_into(target: Tensor, tensor: Tensor, conversion: Conversion) -> None:
    """Write a folder's tensor into the single file's that holds it, which it fills or is a part of."""
    if conversion == "swapped":
        target.copy_(swapped(tensor))
    else:
        to_folder(target, conversion).copy_(tensor)
