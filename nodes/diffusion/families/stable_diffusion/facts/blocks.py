"""UNet blocks by the names that merging people use: BASE, IN00 to IN11, M00, OUT00 to OUT11; SDXL has 9 of IN and OUT each."""

import re
from collections.abc import Iterable

LDM = re.compile(r"diffusion_model\.(input_blocks|output_blocks)\.(\d+)\.")
DIFFUSERS = re.compile(r"^unet\.(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")
BEHIND = ("unet.conv_norm_out.", "unet.conv_out.")
"""The layers behind the last block; in single files they are called `out`."""
SIDES = {"input_blocks": "IN", "output_blocks": "OUT"}


def block_names(count: int) -> tuple[str, ...]:
    """Return the blocks of a UNet with so many input blocks, in the order in which lists of weights name them."""
    return ("BASE", *(f"IN{n:02}" for n in range(count)), "M00", *(f"OUT{n:02}" for n in range(count)))


def layers_per_block(names: Iterable[str]) -> int:
    """Return the residual layers of each down block of a UNet in diffusers' layout, 2 in all published models."""
    found = [int(match[4]) for name in names if (match := DIFFUSERS.match(name)) and match[1] == "down" and match[3] == "resnets"]
    return max(found, default=1) + 1


def block_of(name: str, layers: int) -> str:
    """Return the block of a UNet's tensor, in both layouts; OUT behind the last block, empty for all that is in none."""
    if found := LDM.search(name):
        return f"{SIDES[found[1]]}{int(found[2]):02}"
    if "diffusion_model.middle_block." in name or name.startswith("unet.mid_block."):
        return "M00"
    if "diffusion_model.out." in name or name.startswith(BEHIND):
        return "OUT"
    if name.startswith("unet.conv_in."):
        return "IN00"
    if found := DIFFUSERS.match(name):
        side, block, kind, place = found[1], int(found[2]), found[3], int(found[4])
        if side == "down":
            return f"IN{1 + block * (layers + 1) + (layers if kind == 'downsamplers' else place):02}"
        return f"OUT{block * (layers + 1) + (layers if kind == 'upsamplers' else place):02}"
    return ""
