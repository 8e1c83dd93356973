"""Detection of a diverging training while every number is still finite."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import fmean, quantiles

import torch
from torch import Tensor

EARLY, RECENT = 10, 20
"""The numbers of first and of last losses that are compared."""
RISE = 3.0
"""Factor of the early loss that three quarters of the recent ones must exceed; single steps at hard timesteps may."""
GROWTH = 10.0
"""Factor by which the norm of trained weights must grow; those that begin near zero count as SMALL."""
SMALL = 0.05
REMEDY = "Stop the training and lower learning_rate, or go on if you expect it to recover."


class Divergence:
    """Monitors losses and norms of the weights of one training, and warns once."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._first_size = max(SMALL, _root_mean_square(parameters.values()))
        self._early: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._has_warned = False

    def warning_after(self, step: int, loss: float) -> str:
        """Record the loss of a step, counted from 1; return a warning, mostly empty."""
        if len(self._early) < EARLY:
            self._early.append(loss)
        else:
            self._recent.append(loss)
        found = "" if self._has_warned else self._risen() or (self._grown() if step % EARLY == 0 else "")
        self._has_warned = self._has_warned or bool(found)
        return found

    def state_dict(self) -> dict[str, object]:
        return {"early": list(self._early), "recent": list(self._recent), "told": self._has_warned}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        self._early = list(state["early"])  # pyright: ignore
        self._recent = deque(state["recent"], maxlen=RECENT)  # pyright: ignore
        self._has_warned = bool(state["told"])

    def _risen(self) -> str:
        if len(self._recent) < RECENT:
            return ""
        early, recent = fmean(self._early), quantiles(self._recent, n=4)[0]
        if recent <= RISE * early:
            return ""
        return f"The loss has risen from {early:.3g} to {recent:.3g} and more in the last {RECENT} steps. {REMEDY}"

    def _grown(self) -> str:
        size = _root_mean_square(self._parameters.values()) / self._first_size
        return f"The trained weights have grown {size:.0f} times as large as is usual. {REMEDY}" if size > GROWTH else ""


def _root_mean_square(tensors: Iterable[Tensor]) -> float:
    found = [tensor.detach() for tensor in tensors]
    norms: list[Tensor] = torch._foreach_norm(found)  # pyright: ignore
    return float(torch.linalg.vector_norm(torch.stack(norms))) / math.sqrt(sum(tensor.numel() for tensor in found))
