"""Placeholder tokens: words in prompts that stand for trained vectors; tokenizer and token table stay as they are."""

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.tokenizers import Tokenizer
from nodes.diffusion.randomness import generator_for


@contextmanager
def with_placeholder(word: TokenEmbedding, model: ActiveModel) -> Generator[dict[str, nn.Parameter]]:
    """Let prompts of one use contain a placeholder; yield its vectors by encoder, `text_encoder_0` [vectors, d]."""
    if word.placeholder_token.lower() in model.placeholders:
        message = f"two embeddings of this model are called {word.placeholder_token!r}."
        raise InputError(message, field="model", remedy="Give each its own placeholder.")
    vectors = _in_file(word, model) if word.weights or word.start else _initial_vectors(word, model)
    model.placeholders[word.placeholder_token.lower()] = list(vectors.values())
    try:
        yield vectors
    finally:
        del model.placeholders[word.placeholder_token.lower()]


def _in_file(word: TokenEmbedding, model: ActiveModel) -> dict[str, nn.Parameter]:
    """Return trained vectors in the model's precision, or in fp32 those that a training continues from."""
    path = word.weights or word.start
    assert path is not None
    found, vectors = load_file(path), {}
    for number, encoder in enumerate(model.text_encoders):
        table = token_table(encoder).weight
        tensor = found.get(f"text_encoder_{number}")
        if tensor is None or tensor.shape[1] != table.shape[1] or len(found) != len(model.text_encoders):
            widths = " and ".join(str(tensor.shape[1]) for _, tensor in sorted(found.items()))
            own = " and ".join(str(token_table(encoder).weight.shape[1]) for encoder in model.text_encoders)
            message = f"the embedding {word.placeholder_token!r} is {widths} wide; this model takes {own}."
            raise InputError(message, field="model", remedy="Use it with a model of the family that it was trained on.")
        dtype = table.dtype if word.weights else torch.float32
        vectors[f"text_encoder_{number}"] = nn.Parameter(tensor.to(table.device, dtype), requires_grad=False)
    return vectors


def _initial_vectors(word: TokenEmbedding, model: ActiveModel) -> dict[str, nn.Parameter]:
    vectors: dict[str, nn.Parameter] = {}
    for number, (tokenizer, encoder) in enumerate(zip(model.tokenizers, model.text_encoders, strict=True)):
        row = token_table(encoder).weight.detach()[initial_token(word.initializer_token, tokenizer)].float()
        rows = row.repeat(word.num_vectors, 1)
        noise = torch.randn(rows.shape, generator=generator_for(word.seed, f"embedding {number}"))
        vectors[f"text_encoder_{number}"] = nn.Parameter(rows + word.spread * noise.to(rows.device), requires_grad=False)
    return vectors


def token_table(encoder: Any) -> nn.Embedding:
    """Return the table of token vectors, in transformers' flat CLIP layout and in the nested one."""
    return getattr(encoder, "text_model", encoder).embeddings.token_embedding


def initial_token(word: str, tokenizer: Tokenizer) -> int:
    """Return the id of a word that is one token; raise InputError when it is several."""
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        pieces = " ".join(tokenizer.convert_ids_to_tokens(ids)) or "nothing"
        message = f"{word!r} is not one token for this model: it reads {pieces}."
        raise InputError(message, field="initializer_token", remedy="Choose a plain word that the model knows.")
    return int(ids[0])


def check_new(placeholder: str, model: ActiveModel) -> None:
    """Raise InputError when the model knows a placeholder as a word."""
    for tokenizer in model.tokenizers:
        if len(tokenizer(placeholder, add_special_tokens=False)["input_ids"]) == 1:
            message = f"{placeholder!r} is a word that the model knows already."
            raise InputError(message, field="placeholder_token", remedy=f"Choose a new one, such as <{placeholder.strip('<>')}>.")


def token_ids(prompt: str, tokenizer: Tokenizer, words: Mapping[str, Sequence[Tensor]]) -> list[int]:
    """Return a prompt's tokens without start and end of text, in one list."""
    return [token for piece in token_pieces(prompt, tokenizer, words) for token in piece]


def token_pieces(prompt: str, tokenizer: Tokenizer, words: Mapping[str, Sequence[Tensor]]) -> list[Sequence[int]]:
    """Return a prompt's tokens, each alone but for placeholders: they become ids from the table's end on, one per vector.

    The vectors of `words`, in their order, get consecutive ids. Capitals do not matter, as in CLIP's own words.
    """
    first, starts = len(tokenizer), {}
    for word, vectors in words.items():
        starts[word] = range(first, first + len(vectors[0]))
        first += len(vectors[0])
    found: list[Sequence[int]] = []
    for piece in _pieces(prompt, words):
        if piece.lower() in starts:
            found.append(starts[piece.lower()])
        else:
            found += [[token] for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]
    return found


def holds_word(prompt: str, placeholder: str) -> bool:
    """Return whether a prompt contains a placeholder as a whole word."""
    return bool(_pattern([placeholder]).search(prompt))


def text_before(prompt: str, placeholder: str) -> str:
    """Return the text before the first occurrence of a placeholder."""
    return _pattern([placeholder]).split(prompt, maxsplit=1)[0]


def replaced_word(prompt: str, placeholder: str, other: str) -> str:
    """Return the prompt with one word in place of another."""
    return _pattern([placeholder]).sub(lambda found: other, prompt)


def _pieces(prompt: str, words: Iterable[str]) -> list[str]:
    """Return a prompt split at its placeholders."""
    known = list(words)
    return [piece for piece in _pattern(known).split(prompt) if piece] if known else [prompt]


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern of whole words: `<cat>` is none in `<cat>s`, nor in `<cat>-neg`."""
    longest_first = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return re.compile(rf"(?<![\w-])({longest_first})(?![\w-])", re.IGNORECASE)


class _ExtendedTokenTable(nn.Module):
    """A table of token vectors with more rows at its end."""

    def __init__(self, table: nn.Embedding, rows: Tensor, start: int) -> None:
        super().__init__()
        self.table, self.rows, self.start = table, rows, start

    def forward(self, ids: Tensor) -> Tensor:
        new = ids >= self.start
        known = self.table(ids.masked_fill(new, 0))
        added = self.rows[(ids - self.start).clamp(min=0)].to(known.dtype)
        return torch.where(new[..., None], added, known)


@contextmanager
def extended_token_table(encoder: Any, vectors: Sequence[Tensor], start: int) -> Generator[None]:
    """Let an encoder look up ids from `start` on in `vectors` [k, d], each; gradients reach them and nothing else."""
    if not vectors:
        yield
        return
    embeddings = getattr(encoder, "text_model", encoder).embeddings
    table = embeddings.token_embedding
    embeddings.token_embedding = _ExtendedTokenTable(table, torch.cat([rows.to(table.weight.device) for rows in vectors]), start)
    try:
        yield
    finally:
        embeddings.token_embedding = table
