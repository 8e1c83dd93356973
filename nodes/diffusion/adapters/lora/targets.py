"""Which layers an adapter is laid over, by name; no weights are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import text_encoders
from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.model_folders import info_of, read_config
from nodes.diffusion.handles.models import DiffusionModel, ModelInfo
from nodes.diffusion.models.empty_unet import empty_unet

Targets = Literal["attention", "attention and feed-forward", "custom"]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = (*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
CONVOLUTIONS = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_FEED_FORWARD = (*TEXT_ATTENTION, "fc1", "fc2")


def unet_targets(folder: Path, targets: Targets, custom: Sequence[str] = (), *, convolutions: bool = False) -> tuple[str, ...]:
    """Return the full names of the UNet's layers that an adapter is laid over, with its 3x3 convolutions if wanted."""
    endings = {"attention": ATTENTION, "attention and feed-forward": FEED_FORWARD, "custom": tuple(custom)}[targets]
    found = _named(empty_unet(folder / "unet"), (*endings, *CONVOLUTIONS) if convolutions else endings)
    if not found:
        raise InputError(
            f"no layer of the UNet ends in {', '.join(endings) or 'nothing'}.",
            field="custom_targets",
            remedy="Give endings of layer names, such as attn2.to_k, separated by commas.",
        )
    return found


def text_encoder_targets(model: DiffusionModel, folder: Path, targets: Targets) -> tuple[tuple[str, ...], ...]:
    """Return the full names for each text encoder, in the flat layout (`encoder.layers.0...`).

    Layers whose output nothing uses are left out: those that clip skip drops, and the last of SDXL's first encoder.
    """
    endings = TEXT_FEED_FORWARD if targets == "attention and feed-forward" else TEXT_ATTENTION
    info, found = info_of(model, folder), list[tuple[str, ...]]()
    for part in text_encoders(facts(info.family)):
        encoder = _encoder(folder / part.folder)
        names = [name.removeprefix("text_model.") for name in _named(encoder, endings)]
        used = encoder.config.num_hidden_layers - part.unused_layers(model.clip_skip)
        found.append(tuple(name for name in names if int(name.split(".")[2]) < used))
    return tuple(found)


def layer_shapes(model: DiffusionModel, folder: Path) -> dict[str, torch.Size]:
    """Return the shape of every linear, convolutional and norm's weight, by `unet.NAME` and `text_encoder_N.NAME`."""
    parts = {"unet": empty_unet(folder / "unet"), **empty_text_encoders(folder, info_of(model, folder))}
    return {
        f"{part}.{name.removeprefix('text_model.')}": layer.weight.shape
        for part, module in parts.items()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm)
    }


def unet_layers(folder: Path) -> list[str]:
    """Return the names of all modules of a model's UNet that have weights of their own; none are read."""
    return [name for name, module in empty_unet(folder / "unet").named_modules() if getattr(module, "weight", None) is not None]


def empty_text_encoders(folder: Path, info: ModelInfo) -> dict[str, Any]:
    """Return the text encoders that a folder describes, on the meta device, as `text_encoder_0`, ...; no weights are read."""
    return {part.name: _encoder(folder / part.folder) for part in text_encoders(facts(info.family))}


def _encoder(folder: Path) -> Any:
    with init_empty_weights():
        return CLIPTextModel(CLIPTextConfig(**read_config(folder / "config.json")))


def _named(module: nn.Module, endings: Sequence[str]) -> tuple[str, ...]:
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return tuple(sorted(name for name in layers if any(name == end or name.endswith(f".{end}") for end in endings)))
