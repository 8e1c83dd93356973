"""Tensors converted from one layout's form to the other's."""

from torch import Tensor

from nodes.diffusion.families.protocol import Conversion

THIRDS = ("q", "k", "v")


def to_folder(tensor: Tensor, conversion: Conversion) -> Tensor:
    """Return a view of a single file's tensor as a folder has it."""
    if conversion == "conv":
        return tensor.reshape(tensor.shape[:2])
    if conversion == "transposed":
        return tensor.T
    if conversion in THIRDS:
        return tensor.chunk(3)[THIRDS.index(conversion)]
    return tensor


def shape_in_folder(shape: tuple[int, ...], conversion: Conversion) -> tuple[int, ...]:
    """Return the shape that `to_folder` gives to a tensor of this shape."""
    if conversion == "conv":
        return shape[:2]
    if conversion == "transposed":
        return shape[::-1]
    return (shape[0] // 3, *shape[1:]) if conversion in THIRDS else shape


def write_into(target: Tensor, tensor: Tensor, conversion: Conversion) -> None:
    """Write a folder's tensor into the single file's that holds it, which it fills or is a third of."""
    to_folder(target, conversion).copy_(tensor)
