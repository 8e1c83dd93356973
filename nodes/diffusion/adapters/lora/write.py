"""LoRA files in the formats of other programs: kohya and LyCORIS (also A1111, ComfyUI), PEFT's leaves, and diffusers."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import DEPENDING, is_plain, rank_of, scale_of
from nodes.diffusion.adapters.lora.apply import by_layer
from nodes.diffusion.adapters.lora.fused import fuse
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Rows, denoiser_folder
from nodes.diffusion.families.registry import facts
from nodes.diffusion.handles.adapters import ENCODER_FOLDERS, LowRankAdapter
from nodes.diffusion.handles.models import Family

KOHYA_LEAVES = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}


def kohya_tensors(
    adapter: LowRankAdapter, tensors: Mapping[str, Tensor], family: Family, unet_layers: Collection[str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return `lora_unet_...` and `lora_te...` tensors with LyCORIS' leaves, and `alpha` [] beside those that it scales.

    Names of layers may follow from all of the UNet's: `unet_layers`. Families whose files have PEFT's leaves are written as
    `diffusion_model.NAME.lora_A.weight`, and alpha goes into B: their readers take it for the rank. Where NAME holds several
    layers, they are fused; those of other algorithms cannot be and keep their own names.
    """
    written: dict[str, Tensor] = {}
    fused: dict[str, dict[Rows, tuple[Tensor, Tensor]]] = {}
    named, peft = facts(family).kohya_namer(unet_layers), facts(family).lora_leaves == "peft"
    for full, leaves in by_layer(tensors).items():
        part, _, layer = full.partition(".")
        own, strength, rank = named(full), adapter.strength_on(part), rank_of(leaves)
        key = f"diffusion_model.{layer}" if isinstance(own.conversion, Rows) else own.name
        if peft and is_plain(leaves):
            scale = strength * scale_of(leaves, adapter.scale)
            down, up = leaves["lora_A.weight"].to(dtype), (leaves["lora_B.weight"] * scale).to(dtype)
            if isinstance(own.conversion, Rows):
                fused.setdefault(own.name, {})[own.conversion] = (down, up)
            else:
                written |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
            continue
        for leaf, tensor in _strengthened(leaves, strength).items():
            written |= {f"{key}.{name}": value.to(dtype) for name, value in _spelled(leaf, tensor).items()}
        if rank:
            stated = float(leaves["alpha"]) * strength if "alpha" in leaves else None
            alpha = effective_alpha(adapter, part) * rank / adapter.rank if stated is None else stated
            written[f"{key}.alpha"] = torch.tensor(alpha)  # fp32, as fp16 ends at 65504
    for key, parts in fused.items():
        written[f"{key}.lora_A.weight"], written[f"{key}.lora_B.weight"] = fuse(parts)
    return written


def _spelled(leaf: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return a leaf in LyCORIS' names."""
    if leaf == "ia3":
        return {"weight": tensor.reshape(1, -1), "on_input": torch.tensor(float(tensor.shape[0] == 1))}
    return {KOHYA_LEAVES.get(leaf, leaf): tensor}


def _strengthened(leaves: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    """Return the leaves except alpha, multiplied by a strength that alpha cannot hold: of whole matrices and biases."""
    if strength != 1 and (kind := next((DEPENDING[leaf] for leaf in ("dora_scale", "set_weight") if leaf in leaves), None)):
        remedy = "Load or train it with strength 1, and choose the strength where the file is used."
        raise InputError(f"the file of {kind} knows no strength.", field="model", remedy=remedy)
    whole = {"diff_b"} if rank_of(leaves) else {"diff", "diff_b", "lokr_w1", "ia3"}
    named = {"diff": "w_norm", "diff_b": "b_norm"} if "diff" in leaves and leaves["diff"].dim() == 1 else {}
    kept = {leaf: tensor for leaf, tensor in leaves.items() if leaf != "alpha"}
    return {named.get(leaf, leaf): tensor * strength if leaf in whole else tensor for leaf, tensor in kept.items()}


def diffusers_tensors(
    adapter: LowRankAdapter, tensors: Mapping[str, Tensor], family: Family, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return `unet.NAME.lora.down.weight` and `text_encoder.text_model.NAME.lora_linear_layer.down.weight` tensors, or
    `transformer.NAME.lora_A.weight` ones.

    Raises InputError unless every layer has B A alone, all of one rank, as diffusers misreads other files.
    """
    layers = by_layer(tensors)
    if not all(map(is_plain, layers.values())) or len({rank_of(leaves) for leaves in layers.values()}) > 1:
        remedy = "Choose the kohya layout."
        raise InputError("diffusers reads plain LoRAs of one rank only.", field="layout", remedy=remedy)
    peft, denoiser = facts(family).lora_leaves == "peft", denoiser_folder(facts(family))
    down, up = ("lora_A", "lora_B") if peft else ("down", "up")
    written: dict[str, Tensor] = {}
    for full, leaves in layers.items():
        part, _, layer = full.partition(".")
        if part == "unet":
            key = f"{denoiser}.{layer}" if peft else f"{denoiser}.{layer}.lora"
        else:
            number = int(part[-1])
            key = f"text_encoder{'_2' if number else ''}.text_model.{layer}.lora_linear_layer"
        written[f"{key}.{down}.weight"] = leaves["lora_A.weight"].to(dtype)
        own = scale_of(leaves, adapter.scale) / adapter.scale if "alpha" in leaves else 1.0  # the file has one alpha for all
        written[f"{key}.{up}.weight"] = (leaves["lora_B.weight"] * own).to(dtype)
    return written


def diffusers_config(adapter: LowRankAdapter, family: Family) -> str:
    """Return `lora_adapter_metadata`: the LoraConfig of each part, without which diffusers takes alpha = rank."""
    config: dict[str, Any] = {}
    for part, targets in adapter.targets():
        settings: dict[str, Any] = {
            "r": adapter.rank,
            "lora_alpha": effective_alpha(adapter, part),
            "lora_dropout": 0.0,
            "bias": "none",
            "peft_type": "LORA",
            "target_modules": list(targets),
        }
        name = denoiser_folder(facts(family)) if part == "unet" else ENCODER_FOLDERS.get(part, part)
        config |= {f"{name}.{key}": value for key, value in settings.items()} if targets else {}
    return json.dumps(config, sort_keys=True)


def effective_alpha(adapter: LowRankAdapter, part: str = "unet") -> float:
    """Return the alpha for other programs, which divide it by the rank: it includes strength and rsLoRA's scale."""
    root = adapter.rank**0.5 if adapter.algorithm == "rslora" else 1
    return adapter.alpha * root * adapter.strength_on(part)
