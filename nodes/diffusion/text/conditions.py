"""Conditions: what a denoiser is given of prompts, beside the noisy latents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """Tensors by name, each with a row for every one of n samples; which names there are is the family's.

    CLIP families have `hidden` [n, tokens, d], SDXL also `pooled` [n, p], and unCLIP also `class_labels` [n, 2 d].
    """

    tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        """Return a tensor, None when the family has none of this name."""
        return self.tensors.get(name)

    def replaced(self, **tensors: Tensor) -> "Conditions":
        """Return the same with other tensors in place of some, or beside them."""
        return Conditions({**self.tensors, **tensors})

    def zeros(self) -> "Conditions":
        """Return conditions of the same shapes that say nothing."""
        return Conditions({name: torch.zeros_like(tensor) for name, tensor in self.tensors.items()})

    def of(self, part: range, *, guided: bool) -> "Conditions":
        """Return those of some samples; with guidance the first half is the unconditional one of each."""
        halves = 2 if guided else 1

        def rows(tensor: Tensor) -> Tensor:
            return torch.cat([half[part.start : part.stop] for half in tensor.chunk(halves)])

        return Conditions({name: rows(tensor) for name, tensor in self.tensors.items()})


def joined(conditions: Sequence[Conditions]) -> Conditions:
    """Return the rows of all, in order; all have the same names."""
    return Conditions({name: torch.cat([each[name] for each in conditions]) for name in conditions[0].tensors})
