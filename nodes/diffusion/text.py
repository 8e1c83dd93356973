"""Captions and prompts to text embeddings, by each family's rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.loading import StableDiffusion
from nodes.diffusion.words import longer_table, text_before, token_ids


@dataclass(frozen=True)
class TextEmbeddings:
    """Conditioning of n pictures: `hidden` [n, tokens, d], for SDXL `pooled` [n, p], for unCLIP `class_labels` [n, 2 d]."""

    hidden: Tensor
    pooled: Tensor | None
    truncated: tuple[str, ...] = ()
    """Prompts that did not fit into the tokenizer's length and were cut."""
    class_labels: Tensor | None = None


def encode_prompts(model: StableDiffusion, prompts: Sequence[str], *, clip_skip: int = 0) -> TextEmbeddings:
    """Encode prompts as the family was trained: SD1 and SD2 after the final norm, SDXL the layer before the last without it.

    Each tokenizer pads with its own token (SD1 with end-of-text, SD2 and SDXL's second with "!"). Longer prompts are cut
    at the tokenizer's length, end-of-text kept. A placeholder of `model.words` becomes all of its vectors.
    The caller decides about gradients.
    """
    truncated: dict[str, None] = {}
    hidden, pooled = [], None
    encoder: Any
    for number, (tokenizer, encoder) in enumerate(zip(model.tokenizers, model.text_encoders, strict=True)):
        ids = [token_ids(prompt, tokenizer, model.words) for prompt in prompts]
        truncated |= {prompt: None for prompt, own in zip(prompts, ids, strict=True) if len(own) > _room(tokenizer)}
        tokens = torch.tensor([framed(own, tokenizer) for own in ids], device=model.device)
        with longer_table(encoder, [vectors[number] for vectors in model.words.values()], len(tokenizer)):
            output = encoder(tokens, output_hidden_states=True)
        hidden.append(conditioning(output, encoder, model.facts.family == "sdxl", clip_skip))
        if model.facts.family == "sdxl" and hasattr(encoder, "text_projection"):
            pooled = encoder.text_projection(at_end_of_text(_final_norm(encoder)(output.hidden_states[-1]), tokens, tokenizer))
    return TextEmbeddings(torch.cat(hidden, dim=-1), pooled, tuple(truncated))


def word_features(model: StableDiffusion, prompts: Sequence[str], *, clip_skip: int, from_word: str = "") -> Tensor:
    """Return what cross-attention sees of the prompts' words [n, d] on the CPU: from the first token, or from a placeholder,
    to the end of text, one row per token.
    """
    rows: list[Tensor] = []
    for prompt in prompts:
        tokenizer = model.tokenizers[0]
        before = text_before(prompt, from_word) if from_word else ""
        start = 1 + len(token_ids(before, tokenizer, model.words))
        end = 2 + len(token_ids(prompt, tokenizer, model.words))
        rows.append(encode_prompts(model, [prompt], clip_skip=clip_skip).hidden[0, start:end].float().cpu())
    return torch.cat(rows)


def cut_prompts(model: StableDiffusion, prompts: Sequence[str]) -> list[str]:
    """Return the prompts that are too long for the tokenizer."""
    tokenizer = model.tokenizers[0]
    return [prompt for prompt in prompts if len(token_ids(prompt, tokenizer, model.words)) > _room(tokenizer)]


def cut_words(model: StableDiffusion, prompt: str) -> str:
    """Return a new word of the prompt that does not fit into the tokenizer's length; empty when all fit."""
    tokenizer = model.tokenizers[0]
    lost = set(token_ids(prompt, tokenizer, model.words)[_room(tokenizer) :])
    first = len(tokenizer)
    for word, vectors in model.words.items():
        if lost & set(range(first, first + len(vectors[0]))):
            return word
        first += len(vectors[0])
    return ""


def _room(tokenizer: Any) -> int:
    """Tokens between start and end of text."""
    return tokenizer.model_max_length - 2


def framed(ids: list[int], tokenizer: Any) -> list[int]:
    """Return tokens between start and end of text, cut and padded to the tokenizer's length."""
    whole = [tokenizer.bos_token_id, *ids[: _room(tokenizer)], tokenizer.eos_token_id]
    return whole + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(whole))


def conditioning(output: Any, encoder: torch.nn.Module, sdxl: bool, clip_skip: int) -> Tensor:
    """Return the states [n, tokens, d] that the UNet is given."""
    if sdxl:
        return output.hidden_states[-2 - clip_skip]
    if clip_skip:
        return _final_norm(encoder)(output.hidden_states[-1 - clip_skip])
    return output.last_hidden_state


def _final_norm(encoder: Any) -> torch.nn.Module:
    """The final norm, in transformers' flat CLIP layout and in the nested one."""
    return getattr(encoder, "text_model", encoder).final_layer_norm


def at_end_of_text(hidden: Tensor, tokens: Tensor, tokenizer: Any) -> Tensor:
    """Return the state [n, d] at the first end-of-text token.

    transformers pools at the highest token id when `eos_token_id` is 2, as in SD's configurations, which is another
    place as soon as words have been added to the tokenizer.
    """
    position = (tokens == tokenizer.eos_token_id).int().argmax(dim=-1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]
