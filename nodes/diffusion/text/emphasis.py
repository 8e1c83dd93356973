"""Weights of tokens, applied to the states of a text encoder."""

from collections.abc import Callable

import torch
from torch import Tensor

from nodes.diffusion.text.prompt_syntax import Emphasis


def emphasized(states: Tensor, weights: Tensor, emphasis: Emphasis, get_empty: Callable[[], Tensor]) -> Tensor:
    """Return states [n, chunks, tokens, d] with their tokens' weights [n, chunks, tokens].

    AUTOMATIC1111 multiplies, and restores the mean of each chunk. ComfyUI moves each token from its place in the empty
    prompt [tokens, d], which `get_empty` encodes, through its state and beyond. kohya's trainer multiplies, and no more.
    """
    if bool((weights == 1).all()):
        return states
    factors = weights.to(states)[..., None]
    if emphasis == "comfyui":
        empty = get_empty()
        return torch.where(factors == 1, states, (states - empty) * factors + empty)
    weighted = states * factors
    if emphasis == "kohya":
        return weighted
    before, after = (part.float().mean(dim=(-2, -1), keepdim=True) for part in (states, weighted))
    return torch.where((factors == 1).all(dim=-2, keepdim=True), weighted, weighted * (before / after).to(states))
