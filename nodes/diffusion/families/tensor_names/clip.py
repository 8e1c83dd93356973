"""Text encoder tensors in transformers' names and in those of single files: CLIP's own, or OpenCLIP's with fused projections."""

import re

from nodes.diffusion.families.protocol import Conversion, Rows

OPEN_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
FROM_OPEN_LAYER = {theirs: ours for ours, theirs in OPEN_LAYER.items()}
OPEN_OUTER: dict[str, tuple[str, Conversion]] = {
    "embeddings.token_embedding.weight": ("token_embedding.weight", ""),
    "embeddings.position_embedding.weight": ("positional_embedding", ""),
    "final_layer_norm.weight": ("ln_final.weight", ""),
    "final_layer_norm.bias": ("ln_final.bias", ""),
    "text_projection.weight": ("text_projection", "transposed"),
}
LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
OPEN = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")
SHELL = "text_model."
THIRDS = {name: Rows(index) for index, name in enumerate("qkv")}


def clip_name(name: str) -> str:
    """Return how SD1 and SDXL's first encoder are named in single files: in a shell that newer folders leave out."""
    return name if name.startswith((SHELL, "text_projection.")) else SHELL + name


def from_clip(name: str) -> str | None:
    """Return the name in a folder; None for the list of positions, which newer libraries make themselves."""
    return None if name.endswith("position_ids") else clip_name(name)


def open_clip_name(name: str) -> tuple[str, Conversion] | None:
    """Return OpenCLIP's name of a tensor and how it is changed on the way; None for what OpenCLIP has no name for."""
    inner = name.removeprefix(SHELL)
    if inner in OPEN_OUTER:
        return OPEN_OUTER[inner]
    if not (found := LAYER.fullmatch(inner)):
        return None
    number, layer, last = found.groups()
    outer = f"transformer.resblocks.{number}"
    for third, rows in THIRDS.items():
        if layer == f"self_attn.{third}_proj":
            return f"{outer}.attn.in_proj_{last}", rows
    return (f"{outer}.{OPEN_LAYER[layer]}.{last}", "") if layer in OPEN_LAYER else None


def from_open_clip(name: str) -> list[tuple[str, Conversion]]:
    """Return the tensors of a folder that one of OpenCLIP's holds; none for what transformers does not use."""
    for ours, (theirs, change) in OPEN_OUTER.items():
        if name == theirs:
            return [(ours if ours.startswith("text_projection") else SHELL + ours, change)]
    if not (found := OPEN.fullmatch(name)):
        return []
    number, layer, last = found.groups()
    outer = f"{SHELL}encoder.layers.{number}"
    if layer == "attn.in_proj":
        return [(f"{outer}.self_attn.{third}_proj.{last}", rows) for third, rows in THIRDS.items()]
    return [(f"{outer}.{FROM_OPEN_LAYER[layer]}.{last}", "")] if layer in FROM_OPEN_LAYER else []
