"""Custom diffusion in diffusers' files: a pickle of attention processors' weights, and one of the new word."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.pickles import pt_bytes, read_pt

PLACES = {
    "attn2.to_k.weight": "to_k_custom_diffusion.weight",
    "attn2.to_v.weight": "to_v_custom_diffusion.weight",
    "attn2.to_q.weight": "to_q_custom_diffusion.weight",
    "attn2.to_out.0.weight": "to_out_custom_diffusion.0.weight",
    "attn2.to_out.0.bias": "to_out_custom_diffusion.0.bias",
}
"""Diffusers' names by ours; queries and outputs are in files of its `crossattn` training."""


def processor_bytes(weights: Mapping[str, Tensor], attention_layers: list[str]) -> bytes:
    """Return `pytorch_custom_diffusion_weights.bin`: flat names of `.processor.to_k_custom_diffusion.weight`.

    Every attention layer without weights has an empty entry, which diffusers requires.
    """
    content: dict[str, Any] = {}
    for name, tensor in sorted(weights.items()):
        layer = name.removeprefix("unet.")
        ending = next(ending for ending in PLACES if layer.endswith(ending))
        attention = layer.removesuffix(ending) + "attn2"
        content[f"{attention}.processor.{PLACES[ending]}"] = tensor.contiguous()
    with_weights = {name.partition(".processor.")[0] for name in content}
    content |= {f"{name}.processor": {} for name in attention_layers if name not in with_weights}
    return pt_bytes(content)


def token_bytes(placeholder: str, vector: Tensor) -> bytes:
    """Return diffusers' `<new1>.bin`: the word and its vector [d]."""
    return pt_bytes({placeholder: vector.contiguous()})


def read_processors(path: Path) -> dict[str, Tensor]:
    """Return `unet.NAME.attn2.to_k.weight` and `to_v` [out, d], float32, from diffusers' file, opened with `weights_only`."""
    content = read_pt(path, "a custom diffusion")
    names = {place: ending for ending, place in PLACES.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in content.items() if isinstance(content, Mapping) else ():
        attention, _, place = str(name).partition(".processor.")
        if isinstance(tensor, Tensor):
            if place not in names or not tensor.isfinite().all():
                message = f"{name} in {path.name} is no weight of a custom diffusion, or not finite."
                raise InputError(message, field="file", remedy="Choose another file.")
            found[f"unet.{attention.removesuffix('attn2')}{names[place]}"] = tensor.float()
    if not found:
        message = f"{path.name} holds no keys and values of a custom diffusion."
        raise InputError(message, field="file", remedy="Choose pytorch_custom_diffusion_weights.bin.")
    return found
