"""Names of the layers that an adapter changes; no weights are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import LoraKind, text_encoders
from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.model_folders import info_of, read_config
from nodes.diffusion.handles.models import DiffusionModel, ModelInfo
from nodes.diffusion.models.empty_denoiser import empty_denoiser

Targets = Literal["attention", "attention and feed-forward", "custom"]
KINDS: dict[Targets, set[LoraKind]] = {
    "attention": {"attention"},
    "attention and feed-forward": {"attention", "feed-forward"},
    "custom": set(),
}


def unet_targets(
    model: DiffusionModel, folder: Path, targets: Targets, custom: Sequence[str] = (), *, convolutions: bool = False
) -> tuple[str, ...]:
    """Return the full names of the UNet's layers that an adapter changes, with its 3x3 convolutions if wanted."""
    family, wanted = facts(model.family), KINDS[targets] | ({"convolution"} if convolutions else set())
    endings = tuple(f".{ending}" for ending in custom) if targets == "custom" else ()
    layers = (f"unet.{name}" for name in _layers(empty_denoiser(folder, model.family)))
    found = [layer for layer in layers if family.lora_kind(layer) in wanted or layer.endswith(endings)]
    if not found:
        raise InputError(
            f"no layer of the UNet ends in {', '.join(custom) or 'nothing'}.",
            field="custom_targets",
            remedy="Give endings of layer names, such as attn2.to_k, separated by commas.",
        )
    return tuple(sorted(layer.removeprefix("unet.") for layer in found))


def text_encoder_targets(model: DiffusionModel, folder: Path, targets: Targets) -> tuple[tuple[str, ...], ...]:
    """Return the full names for each text encoder, in the flat layout (`encoder.layers.0...`); `custom` means attention.

    Layers whose output nothing uses are left out, such as those that clip skip drops.
    """
    family, found = facts(model.family), list[tuple[str, ...]]()
    wanted = KINDS[targets] or KINDS["attention"]
    for part in text_encoders(family):
        encoder = _encoder(folder / part.folder)
        names = [name for name in _layers(encoder) if family.lora_kind(f"{part.name}.{name}") in wanted]
        flat = sorted(name.removeprefix("text_model.") for name in names)
        used = encoder.config.num_hidden_layers - part.unused_layers(model.clip_skip)
        found.append(tuple(name for name in flat if int(name.split(".")[2]) < used))
    return tuple(found)


def layer_shapes(model: DiffusionModel, folder: Path) -> dict[str, torch.Size]:
    """Return the shape of every linear, convolutional and norm's weight, by `unet.NAME` and `text_encoder_N.NAME`."""
    parts = {"unet": empty_denoiser(folder, model.family), **empty_text_encoders(folder, info_of(model, folder))}
    return {
        f"{part}.{name.removeprefix('text_model.')}": layer.weight.shape
        for part, module in parts.items()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm) and getattr(layer, "weight", None) is not None
    }


def denoiser_layers(folder: Path, family: str) -> list[str]:
    """Return the names of all modules of a model's denoiser that have weights of their own; none are read."""
    denoiser = empty_denoiser(folder, family)
    return [name for name, module in denoiser.named_modules() if getattr(module, "weight", None) is not None]


def empty_text_encoders(folder: Path, info: ModelInfo) -> dict[str, Any]:
    """Return the text encoders that a folder describes, on the meta device, as `text_encoder_0`, ...; no weights are read."""
    return {part.name: _encoder(folder / part.folder) for part in text_encoders(facts(info.family))}


def _encoder(folder: Path) -> Any:
    with init_empty_weights():
        return CLIPTextModel(CLIPTextConfig(**read_config(folder / "config.json")))


def _layers(module: nn.Module) -> list[str]:
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
