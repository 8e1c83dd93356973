"""Prompt-to-Prompt (Hertz et al. 2023, section 3): the edited picture looks where the original looks, so its layout stays."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LARGEST_SELF_ATTENTION = 32**2
"""Places of a feature map whose self-attention is still replaced; finer maps hold the look, not the layout."""


@dataclass
class AttentionControl:
    """When attention is taken from the original, in a batch of four: unconditional and conditional, original before edit."""

    alignment: Tensor
    """From `align_tokens`, [tokens, tokens]; columns of zeros belong to new tokens, which keep their own attention."""
    cross_replace_steps: float
    """Share of the steps, from the first, in which cross-attention is replaced."""
    self_replace_steps: float
    progress: float = 0.0
    """Share of the steps done; whoever runs the steps sets it."""

    def acts_on(self, places: int, *, cross: bool) -> bool:
        """Return whether attention from so many places is replaced now."""
        if cross:
            return self.progress < self.cross_replace_steps
        return self.progress < self.self_replace_steps and places <= LARGEST_SELF_ATTENTION

    def replaced(self, shares: Tensor, *, cross: bool) -> Tensor:
        """Return attention [4, heads, places, tokens or places] with the edit's conditional part taken from the original's."""
        original, edit = shares[2], shares[3]
        if cross:
            alignment = self.alignment.to(shares.device, shares.dtype)
            original = original @ alignment + edit * (alignment.sum(dim=0) == 0)
        return torch.stack([shares[0], shares[1], shares[2], original])


class ControlledAttention:
    """The attention of one layer under a control, in place of the processor that it had."""

    def __init__(self, control: AttentionControl, before: Callable[..., Tensor]) -> None:
        self.control, self.before = control, before

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **options: Any
    ) -> Tensor:
        cross = encoder_hidden_states is not None
        if not self.control.acts_on(hidden_states.shape[1], cross=cross):
            return self.before(attn, hidden_states, encoder_hidden_states, *args, **options)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        query, key, value = (attn.head_to_batch_dim(part) for part in projected)
        shares = attn.get_attention_scores(query, key)
        shares = self.control.replaced(shares.unflatten(0, (len(hidden_states), -1)), cross=cross).flatten(0, 1)
        out: Tensor = attn.batch_to_head_dim(torch.bmm(shares, value))
        for layer in attn.to_out:
            out = layer(out)
        return out


@contextmanager
def controlled(unet: Any, control: AttentionControl) -> Generator[None]:
    """Put every attention layer of a UNet under a control."""
    processors = {name: ControlledAttention(control, before) for name, before in unet.attn_processors.items()}
    with processors_set(unet, processors):
        yield


@contextmanager
def processors_set(unet: Any, processors: Any) -> Generator[None]:
    """Give a UNet attention processors, one for all or one each by name; afterwards it has its own again."""
    before = unet.attn_processors
    try:
        unet.set_attn_processor(processors)
        yield
    finally:
        unet.set_attn_processor(before)
