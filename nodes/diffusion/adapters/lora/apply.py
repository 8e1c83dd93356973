"""Applying low-rank adapters (Hu et al. 2021) and their family to a model, and removing them.

Each changes the model's own weights W by strength * (W' - W), independent of all others: their order does not matter.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn

from nodes.diffusion.adapters.lora.algorithms import begin, empty_leaves, is_plain, scale_of, weight_change
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter, leaf_of
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.randomness import generator_for

Layers = dict[str, dict[str, Tensor]]
"""An adapter's tensors by the full name of their layer, then by leaf."""


class ChangedLayer(nn.Module):
    """A linear or convolutional layer or a norm, perhaps wrapped already, with a change of its weight."""

    def __init__(self, layer: nn.Module, leaves: Mapping[str, nn.Parameter], scale: float, strength: float) -> None:
        super().__init__()
        self.base_layer = layer
        self.leaves = dict(leaves)
        self.scale, self.strength = scale, strength

    def forward(self, hidden: Tensor) -> Tensor:
        layer = innermost(self.base_layer)
        with torch.autocast(hidden.device.type, enabled=False):  # half precision would lose a small change of large weights
            change = (self.strength * weight_change(self.leaves, layer.weight, self.scale)).to(hidden.dtype)
            bias = self.leaves.get("diff_b")
            bias = None if bias is None else (self.strength * bias).to(hidden.dtype)
        return self.base_layer(hidden) + _passed(layer, hidden, change, bias)


def _passed(layer: nn.Module, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a layer's output for another weight and bias; it is linear in both."""
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(hidden, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)  # pyright: ignore
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(hidden, layer.num_groups, weight, bias, layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(hidden, layer.normalized_shape, weight, bias, layer.eps)
    return F.linear(hidden, weight, bias)


def innermost(layer: object) -> Any:
    """Return the model's own layer inside all wrappers."""
    while isinstance(layer, LoraLayer | ChangedLayer):
        layer = layer.base_layer
    return layer


@contextmanager
def low_rank(adapters: Sequence[LowRankAdapter], model: ActiveModel) -> Generator[list[dict[str, nn.Parameter]]]:
    """Apply low-rank adapters to a model; yield each one's tensors by name. Afterwards the model has its own layers again."""
    known = [_known_values(adapter) for adapter in adapters]
    modules = _modules(model, _named_parts(adapters, known))
    grouped = [by_layer(own or _first_values(adapter, modules)) for adapter, own in zip(adapters, known, strict=True)]
    applied: list[dict[str, nn.Parameter]] = [{} for _ in adapters]
    try:
        for number, (adapter, layers) in enumerate(zip(adapters, grouped, strict=True)):
            applied[number] |= _wrap_with_peft(adapter, layers, modules, f"loom{number}")
        for number, (adapter, layers) in enumerate(
            zip(adapters, grouped, strict=True)
        ):  # peft cannot wrap other layers than torch's
            applied[number] |= _wrap_in_changed_layers(adapter, layers, modules)
        _activate(modules)
        yield applied
    finally:
        _restore(modules)


def _known_values(adapter: LowRankAdapter) -> dict[str, Tensor]:
    """Return a trained adapter's tensors, or those that its training continues from; none for a new one."""
    if adapter.start and not adapter.weights:
        return load_file(adapter.start)
    return adapter_tensors(adapter) if adapter.weights else {}


def _named_parts(adapters: Sequence[LowRankAdapter], known: Sequence[Mapping[str, Tensor]]) -> set[str]:
    """Return the parts that adapters act on; others need not be in memory."""
    wanted = {part for adapter in adapters if not adapter.weights for part, targets in adapter.targets() if targets}
    return wanted | {name.partition(".")[0] for tensors in known for name in tensors}


def _modules(model: ActiveModel, parts: set[str]) -> dict[str, nn.Module]:
    """Return these parts of the model; of text encoders the inner module, which one layout wraps."""
    found: dict[str, nn.Module] = {"unet": model.unet} if "unet" in parts else {}
    if parts - {"unet"}:
        encoders = {f"text_encoder_{n}": getattr(encoder, "text_model", encoder) for n, encoder in enumerate(model.text_encoders)}
        found |= {name: encoder for name, encoder in encoders.items() if name in parts}
    return found


def _first_values(adapter: LowRankAdapter, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the initial values of an adapter's tensors, from the seed."""
    found: dict[str, Tensor] = {}
    for part, targets in adapter.targets():
        for target in targets:
            layer: Any = modules[part].get_submodule(target)
            leaves = empty_leaves(adapter, layer.weight)
            found |= {f"{part}.{target}.{leaf}": tensor for leaf, tensor in leaves.items()}
    generator = generator_for(adapter.seed, "lora")
    for name in sorted(found):
        begin(leaf_of(name)[1], found[name], generator)
    return found


def by_layer(tensors: Mapping[str, Tensor]) -> Layers:
    """Return an adapter's tensors by layer, sorted, then by leaf."""
    layers: Layers = {}
    for name in sorted(tensors):
        layer, leaf = leaf_of(name)
        layers.setdefault(layer, {})[leaf] = tensors[name]
    return layers


def _wrap_with_peft(
    adapter: LowRankAdapter, layers: Layers, modules: Mapping[str, nn.Module], name: str
) -> dict[str, nn.Parameter]:
    """Wrap the layers with B A alone in peft's; return the new tensors."""
    ranks: dict[tuple[str, int], list[str]] = {}
    for full, leaves in layers.items():
        if is_plain(leaves):
            part, _, target = full.partition(".")
            ranks.setdefault((part, leaves["lora_A.weight"].shape[0]), []).append(target)
    found: dict[str, nn.Parameter] = {}
    for (part, rank), targets in ranks.items():
        inject_adapter_in_model(LoraConfig(r=rank, target_modules=targets, lora_dropout=0.0), modules[part], adapter_name=name)
        del modules[part].peft_config  # otherwise peft warns at the next adapter
        for target in targets:
            layer: Any = modules[part].get_submodule(target)
            layer.scaling[name] = adapter.strength_on(part) * scale_of(layers[f"{part}.{target}"], adapter.scale)
            for leaf, inner in (("lora_A.weight", layer.lora_A[name]), ("lora_B.weight", layer.lora_B[name])):
                if adapter.weights is None:  # in training, half precision would lose small updates
                    inner.float()
                with torch.no_grad():
                    inner.weight.copy_(layers[f"{part}.{target}"][leaf])
                found[f"{part}.{target}.{leaf}"] = inner.weight
    return found


def _wrap_in_changed_layers(adapter: LowRankAdapter, layers: Layers, modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Wrap the layers with other tensors in ChangedLayer; return these tensors."""
    found: dict[str, nn.Parameter] = {}
    for full, leaves in layers.items():
        if not is_plain(leaves):
            part, _, target = full.partition(".")
            parent, _, child = target.rpartition(".")
            owner, layer = modules[part].get_submodule(parent), modules[part].get_submodule(target)
            device = innermost(layer).weight.device
            trained = {leaf: tensor for leaf, tensor in leaves.items() if leaf != "alpha"}
            own = {leaf: nn.Parameter(tensor.to(device), requires_grad=False) for leaf, tensor in trained.items()}
            setattr(owner, child, ChangedLayer(layer, own, scale_of(leaves, adapter.scale), adapter.strength_on(part)))
            found |= {f"{full}.{leaf}": parameter for leaf, parameter in own.items()}
    return found


def _activate(modules: Mapping[str, nn.Module]) -> None:
    """Activate all adapters, frozen; a training unfreezes its own."""
    for module in modules.values():
        for layer in module.modules():
            if isinstance(layer, LoraLayer):
                layer.set_adapter(list(layer.lora_A.keys()), inference_mode=True)


def _restore(modules: Mapping[str, nn.Module]) -> None:
    """Restore the model's own layers."""
    for module in modules.values():
        wrapped = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer | ChangedLayer)]
        for name, layer in wrapped:
            parent, _, child = name.rpartition(".")
            if child != "base_layer":
                setattr(module.get_submodule(parent), child, innermost(layer))


def adapter_tensors(adapter: LowRankAdapter) -> dict[str, Tensor]:
    """Return a trained adapter's tensors by name, `unet.NAME.LEAF`, float32; LoRA's are A [rank, in] and B [out, rank]."""
    if adapter.weights is None:
        raise InputError("this adapter has not been trained yet.", field="model", remedy="Wire the trained model here.")
    return load_file(adapter.weights)
