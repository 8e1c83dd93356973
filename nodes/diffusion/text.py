"""Captions and prompts to text embeddings, by each family's rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.loading import StableDiffusion


@dataclass(frozen=True)
class TextEmbeddings:
    """Conditioning of n prompts: `hidden` [n, tokens, d], and for SDXL `pooled` [n, p]."""

    hidden: Tensor
    pooled: Tensor | None
    truncated: tuple[str, ...] = ()
    """Prompts that did not fit into the tokenizer's length and were cut."""


def encode_prompts(model: StableDiffusion, prompts: Sequence[str], *, clip_skip: int = 0) -> TextEmbeddings:
    """Encode prompts as the family was trained: SD1 and SD2 after the final norm, SDXL the layer before the last without it.

    Each tokenizer pads with its own token (SD1 with end-of-text, SD2 and SDXL's second with "!"). Longer prompts are cut
    at the tokenizer's length, end-of-text kept. The caller decides about gradients.
    """
    truncated: dict[str, None] = {}
    hidden, pooled = [], None
    encoder: Any
    for tokenizer, encoder in zip(model.tokenizers, model.text_encoders, strict=True):
        ids = tokenizer(list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True)["input_ids"]
        truncated |= dict.fromkeys(p for p in prompts if len(tokenizer(p)["input_ids"]) > tokenizer.model_max_length)
        tokens = torch.tensor(ids, device=model.device)
        output = encoder(tokens, output_hidden_states=True)
        hidden.append(_conditioning(output, encoder, model.facts.family == "sdxl", clip_skip))
        if model.facts.family == "sdxl" and hasattr(encoder, "text_projection"):
            pooled = encoder.text_projection(_at_end_of_text(_final_norm(encoder)(output.hidden_states[-1]), tokens, tokenizer))
    return TextEmbeddings(torch.cat(hidden, dim=-1), pooled, tuple(truncated))


def _conditioning(output: Any, encoder: torch.nn.Module, sdxl: bool, clip_skip: int) -> Tensor:
    if sdxl:
        return output.hidden_states[-2 - clip_skip]
    if clip_skip:
        return _final_norm(encoder)(output.hidden_states[-1 - clip_skip])
    return output.last_hidden_state


def _final_norm(encoder: Any) -> torch.nn.Module:
    """The final norm, in transformers' flat CLIP layout and in the nested one."""
    return getattr(encoder, "text_model", encoder).final_layer_norm


def _at_end_of_text(hidden: Tensor, tokens: Tensor, tokenizer: Any) -> Tensor:
    """Return the state [n, d] at the first end-of-text token.

    transformers pools at the highest token id when `eos_token_id` is 2, as in SD's configurations, which is another
    place as soon as words have been added to the tokenizer.
    """
    position = (tokens == tokenizer.eos_token_id).int().argmax(dim=-1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]
