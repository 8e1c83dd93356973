"""UNet blocks by the names that merging people use: BASE, IN00 to IN11, M00, OUT00 to OUT11; SDXL has 9 of IN and OUT each.

VAE is a block too where it is given a ratio of its own, and belongs to BASE otherwise.
"""

import re
from collections.abc import Iterable, Mapping

from nodes.diffusion.merging.source_tensors import VAES

COUNTS = {"sd1": 12, "sd2": 12, "sdxl": 9}
LDM = re.compile(r"diffusion_model\.(input_blocks|output_blocks)\.(\d+)\.")
DIFFUSERS = re.compile(r"^unet\.(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")
BEHIND = ("unet.conv_norm_out.", "unet.conv_out.")
"""The layers behind the last block; in single files they are called `out`."""
SIDES = {"input_blocks": "IN", "output_blocks": "OUT"}


def block_names(family: str) -> tuple[str, ...]:
    """Return the blocks of a family, in the order in which lists of weights name them."""
    count = COUNTS[family]
    return ("BASE", *(f"IN{n:02}" for n in range(count)), "M00", *(f"OUT{n:02}" for n in range(count)))


def layers_per_block(names: Iterable[str]) -> int:
    """Return the residual layers of each down block of a UNet in diffusers' layout, 2 in all published models."""
    found = [int(match[4]) for name in names if (match := DIFFUSERS.match(name)) and match[1] == "down" and match[3] == "resnets"]
    return max(found, default=1) + 1


def block_of(name: str, layers: int) -> str:
    """Return the block that a tensor belongs to, in both layouts; OUT behind the last block, and BASE for all that is in none."""
    if found := LDM.search(name):
        return f"{SIDES[found[1]]}{int(found[2]):02}"
    if "diffusion_model.middle_block." in name or name.startswith("unet.mid_block."):
        return "M00"
    if "diffusion_model.out." in name or name.startswith(BEHIND):
        return "OUT"
    if name.startswith(VAES):
        return "VAE"
    if name.startswith("unet.conv_in."):
        return "IN00"
    if found := DIFFUSERS.match(name):
        side, block, kind, place = found[1], int(found[2]), found[3], int(found[4])
        if side == "down":
            return f"IN{1 + block * (layers + 1) + (layers if kind == 'downsamplers' else place):02}"
        return f"OUT{block * (layers + 1) + (layers if kind == 'upsamplers' else place):02}"
    return "BASE"


def ratio_of(name: str, layers: int, ratios: Mapping[str, float]) -> float | None:
    """Return the ratio that is given for a tensor's block, None where there is none."""
    block = block_of(name, layers)
    return ratios.get(block, ratios.get("BASE") if block == "VAE" else None)


def preset(name: str, family: str) -> dict[str, float]:
    """Return the ratios of a preset: `GRAD_V` falls from 1 at both ends to 0 in the middle, `GRAD_A` the other way."""
    blocks = block_names(family)[1:]
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
