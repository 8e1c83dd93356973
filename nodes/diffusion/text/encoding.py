"""Captions and prompts to text embeddings, by each family's rules."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.families.protocol import text_encoders
from nodes.diffusion.families.registry import facts
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.tokenizers import Tokenizer
from nodes.diffusion.text.chunks import CHUNK, Chunks, in_chunks
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.emphasis import emphasized
from nodes.diffusion.text.placeholder_tokens import extended_token_table, text_before, token_ids, token_pieces
from nodes.diffusion.text.prompt_syntax import Emphasis, read_prompt


def encode_prompts(model: ActiveModel, prompts: Sequence[str], *, emphasis: Emphasis = "none") -> Conditions:
    """Encode prompts as the family was trained: SD1 and SD2 after the final norm, SDXL the layer before the last without it.

    Each tokenizer pads with its own token (SD1 with end-of-text, SD2 and SDXL's second with "!"). With a
    `max_token_length` of n times 75, every prompt goes through the encoder as n chunks, framed and padded each, whose
    states follow one another: 77 n tokens. AUTOMATIC1111 and ComfyUI give the UNet the same of a text that fills all chunks,
    and fewer chunks of a shorter one; kohya's trainer always gives n, without the inner ends. What is longer is cut. SDXL's
    pooled state is the first chunk's, in all of these programs. A placeholder of `model.placeholders` becomes all of its vectors.
    `emphasis` names the program whose brackets are meant; weights act on the states and not on the pooled one, also
    there. The caller decides about gradients.
    """
    hidden, pooled = list[Tensor](), dict[str, Tensor]()
    encoder: Any
    for number, (tokenizer, encoder) in enumerate(zip(model.tokenizers, model.text_encoders, strict=True)):
        prompt_chunks = [chunked(model, prompt, tokenizer, emphasis) for prompt in prompts]
        tokens = torch.tensor([framed(chunks, tokenizer) for chunks in prompt_chunks], device=model.device)
        with extended_token_table(encoder, [vectors[number] for vectors in model.placeholders.values()], len(tokenizer)):
            output = encoder(tokens.flatten(0, 1), output_hidden_states=True)
        states = conditioning(model, output, number)
        states = with_emphasis(model, states.reshape(*tokens.shape, -1), prompt_chunks, number, emphasis)
        hidden.append(states.flatten(1, 2))
        if text_encoders(facts(model.info.family))[number].pooled and hasattr(encoder, "text_projection"):
            last = _final_norm(encoder)(output.hidden_states[-1][:: tokens.shape[1]])
            pooled["pooled"] = encoder.text_projection(at_end_of_text(last, tokens[:, 0], tokenizer))
    return Conditions({"hidden": torch.cat(hidden, dim=-1), **pooled})


def with_emphasis(model: ActiveModel, states: Tensor, prompt_chunks: Sequence[Chunks], number: int, emphasis: Emphasis) -> Tensor:
    """Return the states [n, chunks, tokens, d] that encoder `number` made of prompts, with the prompts' weights."""
    if not any(chunks.weights for chunks in prompt_chunks):
        return states
    weights = torch.tensor([chunks.weight_rows(states.shape[2]) for chunks in prompt_chunks], device=states.device)
    tokenizer, encoder = model.tokenizers[number], model.text_encoders[number]

    def encode_empty() -> Tensor:
        tokens = torch.tensor(framed(Chunks(((),), ()), tokenizer), device=model.device)
        output = encoder(tokens, output_hidden_states=True)
        return conditioning(model, output, number)[0]

    return emphasized(states, weights, emphasis, encode_empty)


def word_features(model: ActiveModel, prompts: Sequence[str], *, from_word: str = "") -> Tensor:
    """Return what cross-attention sees of the prompts' words [n, d] on the CPU: from the first token, or from a placeholder,
    to the end of text, one row per token.
    """
    rows: list[Tensor] = []
    for prompt in prompts:
        tokenizer = model.tokenizers[0]
        before = text_before(prompt, from_word) if from_word else ""
        places = chunked(model, prompt, tokenizer).places(tokenizer.model_max_length)
        seen = [*places[len(token_ids(before, tokenizer, model.placeholders)) :], places[-1] + 1 if places else 1]
        rows.append(encode_prompts(model, [prompt])["hidden"][0, seen].float().cpu())
    return torch.cat(rows)


def cut_prompts(model: ActiveModel, prompts: Sequence[str], emphasis: Emphasis = "none") -> dict[str, int]:
    """Return the prompts that are too long for the model, and how many tokens of each are cut."""
    cut = {prompt: len(chunked(model, prompt, model.tokenizers[0], emphasis).cut) for prompt in prompts}
    return {prompt: tokens for prompt, tokens in cut.items() if tokens}


def cut_words(model: ActiveModel, prompt: str, emphasis: Emphasis = "none") -> str:
    """Return a new word of the prompt that is cut; empty when all fit."""
    tokenizer = model.tokenizers[0]
    lost = set(chunked(model, prompt, tokenizer, emphasis).cut)
    first = len(tokenizer)
    for word, vectors in model.placeholders.items():
        if lost & set(range(first, first + len(vectors[0]))):
            return word
        first += len(vectors[0])
    return ""


def chunked(model: ActiveModel, prompt: str, tokenizer: Tokenizer, emphasis: Emphasis = "none") -> Chunks:
    """Return a prompt's tokens in as many chunks as the model's texts have, and their weights."""
    pieces, weights = list[Sequence[int]](), list[float]()
    for span in read_prompt(prompt, emphasis, model.placeholders):
        own = token_pieces(span.text, tokenizer, model.placeholders)
        pieces += [(), *own] if span.new_chunk else own
        weights += [span.weight] * sum(map(len, own))
    chunks = in_chunks(pieces, tokenizer.model_max_length - 2, model.handle.max_token_length // CHUNK)
    return replace(chunks, weights=tuple(weights)) if set(weights) - {1.0} else chunks


def framed(chunks: Chunks, tokenizer: Tokenizer) -> list[list[int]]:
    """Return each chunk between start and end of text, padded to the tokenizer's length."""
    whole = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in chunks.ids]
    return [ids + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids)) for ids in whole]


def conditioning(model: ActiveModel, output: Any, number: int) -> Tensor:
    """Return the states [n, tokens, d] of encoder `number` that the UNet is given: of the layer that clip skip leaves last."""
    clip_skip = model.handle.clip_skip
    if text_encoders(facts(model.info.family))[number].penultimate:
        return output.hidden_states[-2 - clip_skip]
    if clip_skip:
        return _final_norm(model.text_encoders[number])(output.hidden_states[-1 - clip_skip])
    return output.last_hidden_state


def _final_norm(encoder: Any) -> torch.nn.Module:
    """Return the final norm, in transformers' flat CLIP layout and in the nested one."""
    return getattr(encoder, "text_model", encoder).final_layer_norm


def at_end_of_text(hidden: Tensor, tokens: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Return the state [n, d] at the first end-of-text token.

    transformers pools at the highest token id when `eos_token_id` is 2, as in SD's configurations, which is another
    place as soon as words have been added to the tokenizer.
    """
    position = (tokens == tokenizer.eos_token_id).int().argmax(dim=-1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]
