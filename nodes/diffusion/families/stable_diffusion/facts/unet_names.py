"""UNet tensors in diffusers' names and in LDM's (Rombach et al. 2022), both ways."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

FIXED = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
LABELS = {"linear_1": "label_emb.0.0", "linear_2": "label_emb.0.2"}
"""SDXL's embedding of sizes and pooled text (`add_embedding`); SD2 unCLIP's of a picture (`class_embedding`)."""
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
FROM_RESNET = {theirs: ours for ours, theirs in RESNET.items()}
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
LDM_BLOCK = re.compile(r"(input|middle|output)_blocks?\.(\d+)\.(?:(\d+)\.)?(.+)")


@dataclass(frozen=True)
class UNetShape:
    """Residual layers of each down block (one more of each up block), and the up blocks that have attention."""

    layers: int = 2
    attending: frozenset[int] = frozenset()


def unet_shape(names: Iterable[str], prefix: str) -> UNetShape:
    """Return a UNet's shape from tensor names of either layout, LDM's beginning with `prefix`; other parts are passed over."""
    known = list(names)
    theirs = [found for name in known if name.startswith(prefix) and (found := LDM_BLOCK.match(name.removeprefix(prefix)))]
    if theirs:
        downs = [int(found[2]) for found in theirs if found[1] == "input" and found[4].startswith("op.")]
        inputs = [int(found[2]) for found in theirs if found[1] == "input"]
        layers = min(downs, default=max(inputs, default=0) + 1) - 1
        attending = {
            int(found[2]) // (layers + 1) for found in theirs if found[1] == "output" and "transformer_blocks" in found[4]
        }
        return UNetShape(layers, frozenset(attending))
    ours = [found for name in known if name.startswith("unet.") and (found := BLOCK.match(name.removeprefix("unet.")))]
    residual = [int(found[4]) for found in ours if found[1] == "down" and found[3] == "resnets"]
    attending = {int(found[2]) for found in ours if found[1] == "up" and found[3] == "attentions"}
    return UNetShape(max(residual, default=1) + 1, frozenset(attending))


def unet_to_ldm(name: str, shape: UNetShape) -> str | None:
    """Return LDM's name of a tensor, both without the part's prefix; None for a name that diffusers' UNets do not have."""
    owner, _, last = name.rpartition(".")
    if owner in FIXED:
        return f"{FIXED[owner]}.{last}"
    if owner.startswith(("add_embedding.", "class_embedding.")):
        found = LABELS.get(owner.partition(".")[2])
        return f"{found}.{last}" if found else None
    if found := MIDDLE.match(name):
        place = 2 * int(found[2]) if found[1] == "resnets" else 2 * int(found[2]) + 1
        return _inside(f"middle_block.{place}", found[1], found[3])
    if not (found := BLOCK.match(name)):
        return None
    side, block, kind, place, inner = found[1], int(found[2]), found[3], int(found[4]), found[5]
    first = block * (shape.layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{1 + first + shape.layers}.0.op.{inner.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + shape.layers}.{2 if block in shape.attending else 1}.{inner}"
    outer = f"input_blocks.{1 + first + place}" if side == "down" else f"output_blocks.{first + place}"
    return _inside(f"{outer}.{0 if kind == 'resnets' else 1}", kind, inner)


def _inside(outer: str, kind: str, inner: str) -> str | None:
    if kind == "attentions":
        return f"{outer}.{inner}"
    layer, _, last = inner.rpartition(".")
    return f"{outer}.{RESNET[layer]}.{last}" if layer in RESNET else None


def unet_from_ldm(name: str, shape: UNetShape, label_embedding: str) -> str | None:
    """Return diffusers' name of a tensor; `label_embedding` is what it calls the layer `label_emb`."""
    owner, _, last = name.rpartition(".")
    labels = {f"{label_embedding}.{ours}": theirs for ours, theirs in LABELS.items()}
    if ours := next((ours for ours, theirs in {**FIXED, **labels}.items() if theirs == owner), None):
        return f"{ours}.{last}"
    if not (found := LDM_BLOCK.match(name)):
        return None
    side, number, place, inner = found[1], int(found[2]), found[3], found[4]
    if side == "middle":
        kind = "attentions" if number % 2 else "resnets"
        return _outside(f"mid_block.{kind}.{number // 2}", kind, name.split(".", 2)[2])
    block, inside = divmod(number - 1 if side == "input" else number, shape.layers + 1)
    outer = f"{'down' if side == 'input' else 'up'}_blocks.{block}"
    if side == "input" and inner.startswith("op."):
        return f"{outer}.downsamplers.0.conv.{inner.removeprefix('op.')}"
    if side == "output" and inner.startswith("conv."):
        return f"{outer}.upsamplers.0.{inner}"
    kind = "resnets" if place == "0" else "attentions"
    return _outside(f"{outer}.{kind}.{inside}", kind, inner)


def _outside(outer: str, kind: str, inner: str) -> str | None:
    if kind == "attentions":
        return f"{outer}.{inner}"
    layer, _, last = inner.rpartition(".")
    return f"{outer}.{FROM_RESNET[layer]}.{last}" if layer in FROM_RESNET else None
