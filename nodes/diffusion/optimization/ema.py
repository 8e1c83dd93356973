"""A running average of trained weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightAverage:
    """Exponential moving average: shadow = d * shadow + (1 - d) * weight, with d = min(decay, (1 + n) / (10 + n)).

    The rising d lets the average forget the untrained beginning.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Move the average towards the weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        with torch.no_grad():
            for name, shadow in self.shadow.items():
                shadow.lerp_(parameters[name].detach(), 1 - decay)

    def swap(self, parameters: Mapping[str, Tensor]) -> None:
        """Exchange average and weights in place; a second call exchanges them back."""
        with torch.no_grad():
            for name, shadow in self.shadow.items():
                kept = parameters[name].detach().clone()
                parameters[name].copy_(shadow)
                shadow.copy_(kept)

    def state_dict(self) -> dict[str, object]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        self.updates = int(state["updates"])  # pyright: ignore[reportArgumentType]
        for name, tensor in state["shadow"].items():  # pyright: ignore
            self.shadow[name].copy_(tensor)
