"""Conditions: what a denoiser is given of prompts, beside the noisy latents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Conditions:
    """Tensors by name, each with a row for every one of n samples; which names there are is the family's.

    CLIP families have `hidden` [n, tokens, d], SDXL also `pooled` [n, p], and unCLIP also `class_labels` [n, 2 d]. Language
    models have `hidden` whose rows are of several lengths, filled with zeros to the longest.
    """

    tensors: Mapping[str, Tensor]
    lengths: tuple[int, ...] = ()
    """How much of each row is its own, where rows are filled; none where all rows are full."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        """Return a tensor, None when the family has none of this name."""
        return self.tensors.get(name)

    def replaced(self, **tensors: Tensor) -> "Conditions":
        """Return the same with other tensors in place of some, or beside them."""
        return Conditions({**self.tensors, **tensors}, self.lengths)

    def to(self, device: torch.device) -> "Conditions":
        """Return the same on a device."""
        return Conditions({name: tensor.to(device) for name, tensor in self.tensors.items()}, self.lengths)

    def zeros(self) -> "Conditions":
        """Return conditions of the same shapes, all zeros."""
        return Conditions({name: torch.zeros_like(tensor) for name, tensor in self.tensors.items()}, self.lengths)

    def row(self, number: int) -> dict[str, Tensor]:
        """Return the tensors of one sample, without what fills them."""
        length = self.lengths[number] if self.lengths else None
        return {name: tensor[number][:length] if tensor.dim() > 2 else tensor[number] for name, tensor in self.tensors.items()}

    def of(self, part: range, *, guided: bool) -> "Conditions":
        """Return those of some samples; with guidance the first half is the unconditional one of each."""
        halves = 2 if guided else 1
        starts = [half * len(self) // halves for half in range(halves)]
        return stacked([self.row(start + number) for start in starts for number in part])


def stacked(rows: Sequence[Mapping[str, Tensor]]) -> Conditions:
    """Return samples as one; tensors whose samples are of several lengths are filled with zeros to the longest."""
    found = {name: [row[name] for row in rows] for name in rows[0]}
    ragged = next((column for column in found.values() if len({len(tensor) for tensor in column}) > 1), [])
    return Conditions({name: pad_sequence(column, batch_first=True) for name, column in found.items()}, tuple(map(len, ragged)))


def joined(conditions: Sequence[Conditions]) -> Conditions:
    """Return the rows of all, in order; all have the same names."""
    return stacked([each.row(number) for each in conditions for number in range(len(each))])
