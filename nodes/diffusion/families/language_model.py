"""Texts through a decoder language model, whose hidden states condition a denoiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.models.tokenizers import Tokenizer


def token_ids(tokenizer: Tokenizer, text: str, max_tokens: int) -> tuple[list[int], int]:
    """Return a text's tokens, and how many more there were than fit."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[:max_tokens], max(0, len(ids) - max_tokens)


def hidden_states(encoder: Any, tokenizer: Tokenizer, texts: Sequence[str], *, layer: int, max_tokens: int) -> list[Tensor]:
    """Return the states [tokens, d] of each text behind one layer, which counts from the embeddings, or from the end below 0.

    A text goes through alone, so that its states do not depend on the others; no token sees those behind it, so that padding
    would change nothing.
    """
    states: list[Tensor] = []
    for text in texts:
        tokens = torch.tensor([token_ids(tokenizer, text, max_tokens)[0]], device=encoder.device)
        states.append(encoder(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states[layer][0])
    return states


def padded_states(encoder: Any, tokenizer: Any, text: str, *, layers: Sequence[int], tokens: int) -> Tensor:
    """Return the states [tokens, d of all layers] of a text that is filled, or cut, to so many tokens.

    They are those behind each of the layers, side by side. What fills the text sees it, and is not seen.
    """
    filled = tokenizer(text, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt").to(encoder.device)
    ids, mask = filled["input_ids"], filled["attention_mask"]
    found = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
    return torch.cat([found[layer][0] for layer in layers], dim=-1)
