"""Replacing a model's own weights by trained copies, and restoring them."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import text_encoders
from nodes.diffusion.families.registry import facts
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.empty_denoiser import empty_unet


@contextmanager
def replaced(module: nn.Module, tensors: Mapping[str, nn.Parameter]) -> Generator[None]:
    """Replace a module's parameters by others of the same names; restore its own afterwards."""
    before = {name: module.get_parameter(name) for name in tensors}
    try:
        for name, tensor in tensors.items():
            _set(module, name, tensor)
        yield
    finally:
        for name, parameter in before.items():
            _set(module, name, parameter)


def _set(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, parameter)


@contextmanager
def weights_changed(change: WeightChange, model: ActiveModel) -> Generator[dict[str, nn.Parameter]]:
    """Apply a change; yield its parameters by full name: those in its file, or fp32 copies for training."""
    modules = _parts(change, model)
    tensors = _trained(change, modules) if change.weights else _copies(change, model, modules)
    with _all_replaced(modules, tensors), _start_detached(change, model):
        yield tensors


@contextmanager
def _start_detached(change: WeightChange, model: ActiveModel) -> Generator[None]:
    """While keys and values are trained, block their gradient through the first token (custom diffusion)."""
    with ExitStack() as hooks:
        if change.detach_start and change.weights is None:
            for name, module in model.unet.named_modules():
                if f"{name}.weight".endswith(change.endings):
                    hooks.callback(module.register_forward_hook(_detach_first).remove)
        yield


def _detach_first(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.cat([output[:, :1].detach(), output[:, 1:]], dim=1)


@contextmanager
def _all_replaced(modules: Mapping[str, nn.Module], tensors: Mapping[str, nn.Parameter]) -> Generator[None]:
    """Replace the parameters of several parts; names begin with the part's."""
    places = {name: _place(name, modules) for name in tensors}
    with ExitStack() as stack:
        for part, module in modules.items():
            own = {inner: tensors[name] for name, (owner, inner) in places.items() if owner == part}
            stack.enter_context(replaced(module, own))
        yield


def _parts(change: WeightChange, model: ActiveModel) -> dict[str, nn.Module]:
    """Return the changed parts by their names in files; of text encoders the inner module, which one layout wraps."""
    parts: dict[str, nn.Module] = {"unet": model.unet} if change.unet else {}
    if change.vae:
        parts["vae"] = model.vae
    if change.text_encoder:
        encoders = enumerate(model.text_encoders)
        for n, encoder in encoders:
            parts[f"text_encoder_{n}"] = getattr(encoder, "text_model", encoder)
            projection: Any = getattr(encoder, "text_projection", None)
            if change.weights and not change.image_encoder and projection is not None:  # never trained, but merged
                parts[f"text_encoder_{n}.text_projection"] = projection
    return parts


def _place(name: str, parts: Mapping[str, nn.Module]) -> tuple[str, str]:
    """Split the full name of a parameter into its part, the longest that fits, and its name there."""
    part = max((part for part in parts if name.startswith(f"{part}.")), key=len, default="")
    return (part, name[len(part) + 1 :]) if part else ("", name)


def _trained(change: WeightChange, modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    assert change.weights is not None
    found: dict[str, nn.Parameter] = {}
    for name, tensor in load_file(change.weights).items():
        if change.image_encoder and (name.startswith("image_encoder.") or ".text_projection." in name):
            continue
        part, inner = _place(name, modules)
        own = _own_parameter(modules.get(part), inner)
        if own is None or own.shape != tensor.shape:
            message = f"the trained weight {name} has no place of its size in this model."
            raise InputError(message, field="model", remedy="Use it with the model that it was trained on.")
        found[name] = nn.Parameter(tensor.to(own.device, own.dtype), requires_grad=False)
    return found


def _own_parameter(module: nn.Module | None, name: str) -> nn.Parameter | None:
    try:
        return module.get_parameter(name) if module is not None else None
    except AttributeError:
        return None


def _copies(change: WeightChange, model: ActiveModel, modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    found: dict[str, nn.Parameter] = {}
    for part, module in modules.items():
        found |= {
            f"{part}.{name}": nn.Parameter(parameter.detach().to(torch.float32, copy=True), requires_grad=False)
            for name, parameter in module.named_parameters()
            if (not change.endings or name.endswith(change.endings)) and not is_unused(name, part, model)
        }
    if not found:
        endings = ", ".join(change.endings)
        raise InputError(f"no weight of the model ends in {endings}.", field="model", remedy="Use a model with such layers.")
    return found


def is_unused(name: str, part: str, model: ActiveModel) -> bool:
    """Return whether the UNet's conditioning is independent of the parameters with this prefix, which are then not trained."""
    if part in ("unet", "vae"):
        return False
    use = next(encoder for encoder in text_encoders(facts(model.info.family)) if encoder.name == part)
    if name.startswith("encoder.layers."):
        encoder: Any = model.text_encoders[int(part[-1])]
        return int(name.split(".")[2]) >= encoder.config.num_hidden_layers - use.unused_layers(model.handle.clip_skip)
    return use.penultimate and not use.pooled and name.startswith("final_layer_norm")


def tensors_of(change: WeightChange) -> dict[str, Tensor]:
    """Return a trained change's tensors by full name, float32."""
    if change.weights is None:
        raise InputError("these weights have not been trained.", field="model", remedy="Wire the trained model here.")
    return load_file(change.weights)


def attention_layers(folder: Path) -> list[str]:
    """Return the names of a UNet's attention layers, `attn1` and `attn2`; no weights are read."""
    return [name for name, _ in empty_unet(folder / "unet").named_modules() if name.endswith((".attn1", ".attn2"))]


def check_places(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raise InputError unless every `unet.NAME` is a parameter of that shape in the model's UNet; no weights are read."""
    own = {f"unet.{name}": parameter.shape for name, parameter in empty_unet(folder / "unet").named_parameters()}
    wrong = [name for name, tensor in tensors.items() if own.get(name) != tensor.shape]
    if wrong:
        message = f"{wrong[0]} has no place of its size in this model."
        raise InputError(message, field="file", remedy="Use it with a model of the family that it was trained on.")
