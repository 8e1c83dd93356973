"""LoRA files in the spellings of other programs: kohya (also A1111, ComfyUI) and diffusers."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.adapters import LowRankAdapter
from nodes.diffusion.values import Family


def kohya_tensors(
    adapter: LowRankAdapter, tensors: Mapping[str, Tensor], family: Family, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return `lora_unet_...` and `lora_te...` tensors: `lora_down.weight` [r, in], `lora_up.weight` [out, r], `alpha` [].

    Text-encoder names always hold `text_model_`, as those programs expect, however the encoder is laid out here.
    """
    written: dict[str, Tensor] = {}
    for name, down, up in _pairs(tensors):
        part, _, layer = name.partition(".")
        if part == "unet":
            key = f"lora_unet_{layer}"
        else:
            encoder = f"lora_te{int(part[-1]) + 1}" if family == "sdxl" else "lora_te"
            key = f"{encoder}_text_model_{layer}"
        key = key.replace(".", "_")
        written[f"{key}.lora_down.weight"] = down.to(dtype)
        written[f"{key}.lora_up.weight"] = up.to(dtype)
        written[f"{key}.alpha"] = torch.tensor(effective_alpha(adapter))  # fp32: fp16 holds nothing above 65504
    return written


def diffusers_tensors(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return `unet.NAME.lora.down.weight` and `text_encoder.text_model.NAME.lora_linear_layer.down.weight` tensors."""
    written: dict[str, Tensor] = {}
    for name, down, up in _pairs(tensors):
        part, _, layer = name.partition(".")
        if part == "unet":
            key = f"unet.{layer}.lora"
        else:
            number = int(part[-1])
            key = f"text_encoder{'_2' if number else ''}.text_model.{layer}.lora_linear_layer"
        written[f"{key}.down.weight"] = down.to(dtype)
        written[f"{key}.up.weight"] = up.to(dtype)
    return written


def diffusers_config(adapter: LowRankAdapter) -> str:
    """Return `lora_adapter_metadata`: the LoraConfig of each part, without which diffusers takes alpha = rank."""
    parts: dict[str, tuple[str, ...]] = {"unet": adapter.unet_targets}
    parts |= {f"text_encoder{'_2' if n else ''}": targets for n, targets in enumerate(adapter.text_encoder_targets)}
    settings: dict[str, Any] = {
        "r": adapter.rank,
        "lora_alpha": effective_alpha(adapter),
        "lora_dropout": 0.0,
        "bias": "none",
        "peft_type": "LORA",
    }
    config = {
        f"{part}.{key}": value
        for part, targets in parts.items()
        if targets
        for key, value in {**settings, "target_modules": list(targets)}.items()
    }
    return json.dumps(config, sort_keys=True)


def effective_alpha(adapter: LowRankAdapter) -> float:
    """Return alpha times strength: files know no strength of their own."""
    return adapter.alpha * adapter.strength


def _pairs(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    """(layer name with its part, down, up) of every adapted layer."""
    names = sorted(name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight"))
    return [(name, tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]) for name in names]
