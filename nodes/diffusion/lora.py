"""Low-rank adapters (Hu et al. 2021): W' = W + strength * alpha / rank * B A, laid over a model and taken off again."""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from nodes.diffusion.adapters import LowRankAdapter
from nodes.diffusion.errors import InputError
from nodes.diffusion.folders import ModelFacts, read_config
from nodes.diffusion.loading import StableDiffusion
from nodes.diffusion.randomness import generator_for

Targets = Literal["attention", "attention and feed-forward", "custom"]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = (*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_FEED_FORWARD = (*TEXT_ATTENTION, "fc1", "fc2")


def unet_targets(folder: Path, targets: Targets, custom: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the full names of the UNet's layers that an adapter is laid over; no weights are read."""
    with init_empty_weights():
        unet: Any = UNet2DConditionModel.from_config(read_config(folder / "unet" / "config.json"))
    endings = {"attention": ATTENTION, "attention and feed-forward": FEED_FORWARD, "custom": tuple(custom)}[targets]
    found = _named(unet, endings)
    if not found:
        raise InputError(
            f"no layer of the UNet ends in {', '.join(endings) or 'nothing'}.",
            field="custom_targets",
            remedy="Give endings of layer names, such as attn2.to_k, separated by commas.",
        )
    return found


def text_encoder_targets(folder: Path, facts: ModelFacts, targets: Targets, clip_skip: int = 0) -> tuple[tuple[str, ...], ...]:
    """Return the full names for each text encoder, in the flat layout (`encoder.layers.0...`).

    Layers whose output nothing uses are left out: those that clip skip drops, and the last of SDXL's first encoder.
    """
    endings = TEXT_FEED_FORWARD if targets == "attention and feed-forward" else TEXT_ATTENTION
    found: list[tuple[str, ...]] = []
    for part in facts.text_parts:
        if part.startswith("text_encoder"):
            config = CLIPTextConfig(**read_config(folder / part / "config.json"))
            with init_empty_weights():
                names = [name.removeprefix("text_model.") for name in _named(CLIPTextModel(config), endings)]
            used = config.num_hidden_layers - _unused_layers(facts, part, clip_skip)
            found.append(tuple(name for name in names if int(name.split(".")[2]) < used))
    return tuple(found)


def _unused_layers(facts: ModelFacts, part: str, clip_skip: int) -> int:
    if facts.family != "sdxl":
        return clip_skip
    return 0 if part == "text_encoder_2" else clip_skip + 1  # the second's pooled output uses all of its layers


def _named(module: nn.Module, endings: Sequence[str]) -> tuple[str, ...]:
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return tuple(sorted(name for name in layers if any(name == end or name.endswith(f".{end}") for end in endings)))


@contextmanager
def low_rank(adapters: Sequence[LowRankAdapter], model: StableDiffusion) -> Generator[list[dict[str, nn.Parameter]]]:
    """Lay low-rank adapters over a model; yield each one's tensors by name. Afterwards the model holds its own layers again."""
    laid: list[dict[str, nn.Parameter]] = []
    modules: list[Any] = []
    try:
        for number, adapter in enumerate(adapters):
            tensors: dict[str, nn.Parameter] = {}
            for prefix, module, targets in _places(adapter, model):
                modules.append(module)
                tensors |= {
                    f"{prefix}.{name}": value for name, value in _inject(module, adapter, targets, f"loom{number}").items()
                }
            _fill(tensors, adapter)
            laid.append(tensors)
        _activate(modules)
        yield laid
    finally:
        for module in modules:
            _restore(module)


def _places(adapter: LowRankAdapter, model: StableDiffusion) -> Iterable[tuple[str, nn.Module, tuple[str, ...]]]:
    if adapter.unet_targets:
        yield "unet", model.unet, adapter.unet_targets
    if adapter.text_encoder_targets:
        for number, (encoder, targets) in enumerate(zip(model.text_encoders, adapter.text_encoder_targets, strict=True)):
            yield f"text_encoder_{number}", getattr(encoder, "text_model", encoder), targets


def _inject(module: Any, adapter: LowRankAdapter, targets: tuple[str, ...], name: str) -> dict[str, nn.Parameter]:
    """Wrap the target layers; return the new tensors by layer name."""
    config = LoraConfig(r=adapter.rank, target_modules=list(targets), lora_dropout=0.0)
    inject_adapter_in_model(config, module, adapter_name=name)
    del module.peft_config  # peft's own note; with it left there, the next adapter would bring a warning
    found: dict[str, nn.Parameter] = {}
    for target in targets:
        layer: Any = module.get_submodule(target)
        layer.scaling[name] = adapter.strength * adapter.alpha / adapter.rank
        if adapter.weights is None:  # it is to be trained, and the half precision of a model would lose small updates
            layer.lora_A[name].float()
            layer.lora_B[name].float()
        found[f"{target}.lora_A.weight"] = layer.lora_A[name].weight
        found[f"{target}.lora_B.weight"] = layer.lora_B[name].weight
    return found


def _fill(tensors: Mapping[str, nn.Parameter], adapter: LowRankAdapter) -> None:
    """Give the tensors their trained values, or their first: A uniform (Kaiming, a = sqrt 5) from the seed, B zero."""
    trained = adapter_tensors(adapter) if adapter.weights else None
    generator = generator_for(adapter.seed, "lora")
    with torch.no_grad():
        for name in sorted(tensors):
            if trained is not None:
                tensors[name].copy_(trained[name])
            elif name.endswith("lora_A.weight"):
                first = torch.empty(tensors[name].shape)
                nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
                tensors[name].copy_(first)
            else:
                tensors[name].zero_()


def _activate(modules: Iterable[Any]) -> None:
    """Let every adapter act at once, none of them trained yet: a training frees what it trains."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, LoraLayer):
                layer.set_adapter(list(layer.lora_A.keys()), inference_mode=True)


def _restore(module: Any) -> None:
    """Put the model's own layers back where they were."""
    wrapped = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]
    for name, layer in wrapped:
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, layer.base_layer)


def adapter_tensors(adapter: LowRankAdapter) -> dict[str, Tensor]:
    """Return a trained adapter's tensors: `unet.NAME.lora_A.weight` [rank, in], `.lora_B.weight` [out, rank], float32."""
    if adapter.weights is None:
        raise InputError("this adapter has not been trained yet.", field="model", remedy="Wire the trained model here.")
    return load_file(adapter.weights)
