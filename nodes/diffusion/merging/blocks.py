"""Ratios of a merge by block of the denoiser, in the family's names; tensors outside of blocks belong to BASE.

VAE is a block if it has a ratio of its own, and belongs to BASE otherwise.
"""

from collections.abc import Callable, Mapping

from nodes.diffusion.families.registry import families
from nodes.diffusion.formats.checkpoint_headers import Header, facts_of
from nodes.diffusion.merging.source_tensors import VAES


def block_finder(header: Header) -> Callable[[str], str]:
    """Return the function from a tensor's name to its block, for a model that has these tensors."""
    asked = (family,) if (family := facts_of(header)) else families()
    finders = [one.block_finder(header) for one in asked]

    def block_of(name: str) -> str:
        return next(filter(None, (find(name) for find in finders)), "VAE" if name.startswith(VAES) else "BASE")

    return block_of


def ratio_of(block: str, ratios: Mapping[str, float]) -> float | None:
    """Return the ratio of a block; None when there is none."""
    return ratios.get(block, ratios.get("BASE") if block == "VAE" else None)


def preset(name: str, blocks: tuple[str, ...]) -> dict[str, float]:
    """Return the ratios of a preset: `GRAD_V` falls from 1 at both ends to 0 in the middle, `GRAD_A` the other way."""
    blocks = blocks[1:]
    middle = len(blocks) // 2
    away = {block: abs(place - middle) / middle for place, block in enumerate(blocks)}
    shapes = {
        "GRAD_V": away,
        "GRAD_A": {block: 1 - distance for block, distance in away.items()},
        "IN": {block: float(block.startswith("IN")) for block in blocks},
        "OUT": {block: float(block.startswith("OUT")) for block in blocks},
        "MID": {block: float(block == "M00") for block in blocks},
    }
    return shapes.get(name, {})
