"""VAE tensors in diffusers' names and in LDM's (Rombach et al. 2022), both ways; LDM's attention is made of 1x1 convolutions."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nodes.diffusion.families.protocol import Counterpart

ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
FROM_ATTENTION = {theirs: ours for ours, theirs in ATTENTION.items()}
OLD_ATTENTION = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
"""What folders written before diffusers 0.17 say."""
OURS = re.compile(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(?:resnets\.(\d+)|(?:down|up)samplers\.0)\.(.+)")
THEIRS = re.compile(r"(encoder|decoder)\.(down|up)\.(\d+)\.(?:block\.(\d+)|(?:down|up)sample)\.(.+)")
MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)\.(\w+)")
LDM_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(block|attn)_(\d+)\.(.+)\.(\w+)")
OUTER = re.compile(r"((encoder|decoder)\.(conv_in|conv_out|conv_norm_out|norm_out)|(post_)?quant_conv)\.\w+")
ANY_UP = re.compile(r"(?:(?:vae|first_stage_model)\.)?decoder\.up(?:_blocks)?\.(\d+)\.")


def vae_blocks(names: Iterable[str]) -> int:
    """Return how many blocks a VAE's decoder has, from tensor names of either layout; 4 in all published models."""
    return max((int(found[1]) for name in names if (found := ANY_UP.match(name))), default=3) + 1


def is_attention_weight(name: str) -> bool:
    """Return whether LDM keeps this tensor as a 1x1 convolution where diffusers has a matrix."""
    found = LDM_MIDDLE.search(name)
    return found is not None and found[2] == "attn" and found[4] != "norm" and found[5] == "weight"


def vae_to_ldm(name: str, blocks: int) -> str | None:
    """Return LDM's name of a tensor, both without the part's prefix; None for a name that no such VAE has."""
    if found := MIDDLE.fullmatch(name):
        side, kind, place, layer, last = found.groups()
        if kind == "resnets":
            return f"{side}.mid.block_{int(place) + 1}.{_shortcut(layer)}.{last}"
        theirs = (ATTENTION | OLD_ATTENTION).get(layer)
        return f"{side}.mid.attn_{int(place) + 1}.{theirs}.{last}" if theirs else None
    if found := OURS.fullmatch(name):
        side, way, block, place, inner = found.groups()
        number = int(block) if way == "down" else blocks - 1 - int(block)
        layer = f"block.{place}" if place else f"{way}sample"
        return f"{side}.{way}.{number}.{layer}.{_shortcut(inner)}"
    return name.replace("conv_norm_out", "norm_out") if _outer(name) else None


def vae_from_ldm(name: str, blocks: int) -> str | None:
    """Return diffusers' name of a tensor, both without the part's prefix; None for a name that no such VAE has."""
    if found := LDM_MIDDLE.fullmatch(name):
        side, kind, place, layer, last = found.groups()
        if kind == "block":
            return f"{side}.mid_block.resnets.{int(place) - 1}.{_shortcut(layer)}.{last}"
        ours = FROM_ATTENTION.get(layer)
        return f"{side}.mid_block.attentions.{int(place) - 1}.{ours}.{last}" if ours else None
    if found := THEIRS.fullmatch(name):
        side, way, block, place, inner = found.groups()
        number = int(block) if way == "down" else blocks - 1 - int(block)
        layer = f"resnets.{place}" if place else f"{way}samplers.0"
        return f"{side}.{way}_blocks.{number}.{layer}.{_shortcut(inner)}"
    return name.replace("norm_out", "conv_norm_out") if _outer(name) else None


@dataclass(frozen=True)
class AutoencoderKLNames:
    """The names of a VAE with so many blocks, in its folder and in a single file, both without prefix."""

    blocks: int

    def to_file(self, name: str) -> Counterpart | None:
        """Return the file's tensor that holds a folder's; None for a name that no such VAE has."""
        found = vae_to_ldm(name, self.blocks)
        return Counterpart(found, "conv" if is_attention_weight(found) else "") if found else None

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensor that a file's holds; () for a name that no such VAE has."""
        found = vae_from_ldm(name, self.blocks)
        return (Counterpart(found, "conv" if is_attention_weight(name) else ""),) if found else ()


def _shortcut(layer: str) -> str:
    """The one layer of a residual block that has two names, in the other layout's."""
    if "nin_shortcut" in layer:
        return layer.replace("nin_shortcut", "conv_shortcut")
    return layer.replace("conv_shortcut", "nin_shortcut")


def _outer(name: str) -> bool:
    """Return whether it is one of the layers around the blocks."""
    return OUTER.fullmatch(name) is not None
