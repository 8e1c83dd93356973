"""Hypernetworks as in AUTOMATIC1111: attention makes keys from c + h_k(c) and values from c + h_v(c), c being its context.

One pair (h_k, h_v) serves every self-attention of one width, another every attention to the text: `self_320`, `text_768`.
The kind of the layer chooses, not the width alone: both kinds may be equally wide.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nodes.diffusion.adapters.hypernetwork.modules import ContextNet, Drop, begin, make_net
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import Hypernetwork
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.empty_denoiser import empty_unet
from nodes.diffusion.randomness import generator_for


def attention_layers(unet: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Return the attention of a UNet's transformer blocks: by kind and width of its context, then by name."""
    found: dict[str, dict[str, nn.Module]] = {}
    for name, block in unet.named_modules():
        if isinstance(block, BasicTransformerBlock):
            for own, attention in (("attn1", block.attn1), ("attn2", block.attn2)):
                if attention is not None:
                    kind = "text" if attention.is_cross_attention else "self"
                    found.setdefault(f"{kind}_{attention.cross_attention_dim}", {})[f"{name}.{own}"] = attention
    return found


def attention_names(folder: Path) -> list[str]:
    """Return the kinds and widths of attention in the UNet of a model's folder; no weights are read."""
    return sorted(attention_layers(empty_unet(folder / "unet")))


def width_of(net: str) -> int:
    """Return the width in the name of a pair of nets."""
    return int(net.rpartition("_")[2])


@contextmanager
def hypernetwork_applied(hypernetwork: Hypernetwork, model: ActiveModel) -> Generator[dict[str, nn.Parameter]]:
    """Apply a hypernetwork to a model; yield its parameters by full name, and remove it afterwards.

    With strength 0 nothing is computed. Dropout is active only in training, with masks drawn from the seed and the step.
    """
    places = attention_layers(model.unet)
    known = hypernetwork.weights or hypernetwork.start
    nets = _trained(hypernetwork, model, places) if known else _first(hypernetwork, model, places)
    handles: list[RemovableHandle] = []
    try:
        for (name, letter), net in nets.items():
            for place, attention in places[name].items() if hypernetwork.strength else ():
                layer: nn.Module = getattr(attention, f"to_{letter}")
                hook = _shifting(net, hypernetwork.strength, _dropping(hypernetwork, model, f"{place}.{letter}"))
                handles.append(layer.register_forward_pre_hook(hook))
        yield {
            f"unet.{name}.{letter}.{inner}": parameter
            for (name, letter), net in nets.items()
            for inner, parameter in net.named_parameters()
        }
    finally:
        for handle in handles:
            handle.remove()


def _shifting(net: ContextNet, strength: float, drop: Callable[[], Drop | None]) -> Any:
    """Return a hook that adds strength * h(context) to a projection's input, the context."""
    dtype = next(net.parameters()).dtype

    def shift(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        context, *rest = inputs
        return (context + strength * net(context.to(dtype), drop()).to(context.dtype), *rest)

    return shift


def _dropping(hypernetwork: Hypernetwork, model: ActiveModel, place: str) -> Callable[[], Drop | None]:
    """Return a function that gives the present dropout of one layer; None when the hypernetwork is not being trained.

    The mask depends on layer and step alone, so that checkpointed activations are the same when they are computed again.
    """

    def now() -> Drop | None:
        if hypernetwork.weights or model.training_step is None or not torch.is_grad_enabled():
            return None
        step, micro_step = model.training_step

        def drop(numbers: Tensor, share: float, layer: int) -> Tensor:
            generator = generator_for(hypernetwork.seed, f"dropout {place} {layer} {micro_step}", step)
            kept = torch.empty(numbers.shape).bernoulli_(1 - share, generator=generator)
            return numbers * kept.to(numbers) / (1 - share)

        return drop

    return now


def _first(form: Hypernetwork, model: ActiveModel, names: Iterable[str]) -> dict[tuple[str, str], ContextNet]:
    """Return new nets for all of a model's widths, in fp32, as half precision would lose small updates."""
    nets: dict[tuple[str, str], ContextNet] = {}
    for name in sorted(names):
        for letter in "kv":
            net = make_net(width_of(name), form).to_empty(device="cpu").requires_grad_(False)
            begin(net, form, generator_for(form.seed, f"hypernetwork {name} {letter}"))
            nets[name, letter] = net.to(model.device)
    return nets


def _trained(form: Hypernetwork, model: ActiveModel, names: Iterable[str]) -> dict[tuple[str, str], ContextNet]:
    """Return the nets of a trained hypernetwork in the model's dtype, or those that its training continues from in fp32."""
    nets: dict[tuple[str, str], ContextNet] = {}
    for (name, letter), tensors in tensors_of(form).items():
        if name not in names:
            raise wrong_width(width_of(name), names, "model")
        net = make_net(width_of(name), form)
        net.load_state_dict(tensors, assign=True)
        nets[name, letter] = net.to(model.device, model.dtype if form.weights else torch.float32).requires_grad_(False)
    return nets


def tensors_of(form: Hypernetwork) -> dict[tuple[str, str], dict[str, Tensor]]:
    """Return a trained hypernetwork's tensors by pair and letter (`k`, `v`), each net's by its own names, float32."""
    path = form.weights or form.start
    if path is None:
        raise InputError("this hypernetwork has not been trained.", field="model", remedy="Wire the trained model here.")
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    for full, tensor in sorted(load_file(path).items()):
        _, name, letter, inner = full.split(".", 3)
        found.setdefault((name, letter), {})[inner] = tensor
    return found


def wrong_width(width: int, names: Iterable[str], field: str) -> InputError:
    """Return the error for a hypernetwork none of whose widths the model's attention has."""
    own = ", ".join(str(width) for width in sorted({width_of(name) for name in names}))
    message = f"the hypernetwork has nets for a context {width} wide; this model's are {own} wide."
    return InputError(message, field=field, remedy="Use it with a model of the family that it was trained on.")
