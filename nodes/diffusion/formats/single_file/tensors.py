"""Tensors turned from one layout's form into the other's."""

from torch import Tensor

from nodes.diffusion.families.stable_diffusion.facts.tensor_names import Change

THIRDS = ("q", "k", "v")


def to_folder(tensor: Tensor, change: Change) -> Tensor:
    """Return a view of a single file's tensor as a folder has it."""
    if change == "conv":
        return tensor.reshape(tensor.shape[:2])
    if change == "transposed":
        return tensor.T
    if change in THIRDS:
        return tensor.chunk(3)[THIRDS.index(change)]
    return tensor


def shape_in_folder(shape: tuple[int, ...], change: Change) -> tuple[int, ...]:
    """Return the shape that `to_folder` gives to a tensor of this shape."""
    if change == "conv":
        return shape[:2]
    if change == "transposed":
        return shape[::-1]
    return (shape[0] // 3, *shape[1:]) if change in THIRDS else shape


def laid_in(target: Tensor, tensor: Tensor, change: Change) -> None:
    """Write a folder's tensor into its place in a single file's, which it fills or is a third of."""
    to_folder(target, change).copy_(tensor)
