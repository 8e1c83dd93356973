"""The nets of a hypernetwork: linear layers, activations, layer norms and dropout, in AUTOMATIC1111's order and numbering."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nodes.diffusion.handles.adapters import Hypernetwork

PLAIN = (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish", "ReLU",
    "ReLU6", "SELU", "Sigmoid", "SiLU", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink",
)  # fmt: skip
ACTIVATIONS: dict[str, Any] = {"linear": None, "swish": nn.Hardswish} | {name.lower(): getattr(nn, name) for name in PLAIN}
"""Activations by AUTOMATIC1111's names, whose `swish` is hard swish."""
SMALL = 0.01
"""The standard deviation of initial values."""
TINY = 0.001
"""The same for the last layer where earlier ones are not small: gradients are nonzero, and the nets have almost no effect."""
Drop = Callable[[Tensor, float, int], Tensor]
"""Function of activations, dropout probability and layer number that returns the activations after dropout."""


class ContextNet(nn.Module):
    """One h: linear layers whose widths are multiples of the context's, with activations, norms and dropout between."""

    def __init__(self, width: int, form: Hypernetwork) -> None:
        super().__init__()
        widths = [int(width * multiple) for multiple in form.layer_structure]
        layers: list[nn.Module] = []
        for place in range(1, len(widths)):
            layers.append(nn.Linear(widths[place - 1], widths[place]))
            activation = ACTIVATIONS[form.activation_func]
            if activation and (place < len(widths) - 1 or form.activate_output):
                layers.append(activation())
            if form.is_layer_norm:
                layers.append(nn.LayerNorm(widths[place]))
            if form.dropout_structure[place]:
                layers.append(nn.Dropout(form.dropout_structure[place]))
        self.linear = nn.Sequential(*layers)  # name and numbering are those of the file

    def forward(self, context: Tensor, drop: Drop | None = None) -> Tensor:
        """Return h(context) [..., width]."""
        hidden = context
        for number, layer in enumerate(self.linear):
            if not isinstance(layer, nn.Dropout):
                hidden = layer(hidden)
            elif drop:
                hidden = drop(hidden, layer.p, number)
        return hidden


def make_net(width: int, form: Hypernetwork) -> ContextNet:
    """Return a net with uninitialized values, without using random numbers."""
    with torch.device("meta"):
        return ContextNet(width, form)


def begin(net: ContextNet, form: Hypernetwork, generator: torch.Generator) -> None:
    """Initialize a net so that it has almost no effect; biases are zero."""
    linears = [layer for layer in net.linear if isinstance(layer, nn.Linear)]
    gain = "leaky_relu" if form.activation_func == "leakyrelu" else "relu"
    for layer in net.linear:
        if not isinstance(layer, nn.Linear | nn.LayerNorm):
            continue
        nn.init.zeros_(layer.bias)
        kind = "Normal" if isinstance(layer, nn.LayerNorm) else form.weight_initialization
        if kind == "Normal" or layer is linears[-1]:
            nn.init.normal_(layer.weight, std=SMALL if kind == "Normal" else TINY, generator=generator)
        elif kind.startswith("Xavier"):
            draw = nn.init.xavier_uniform_ if kind == "XavierUniform" else nn.init.xavier_normal_
            draw(layer.weight, generator=generator)
        else:
            draw = nn.init.kaiming_uniform_ if kind == "KaimingUniform" else nn.init.kaiming_normal_
            draw(layer.weight, nonlinearity=gain, generator=generator)
