"""Long prompts: a text encoder sees 75 tokens at once, so more go through it in chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CHUNK = 75
"""Tokens between start and end of text in CLIP's 77."""


@dataclass(frozen=True)
class Chunks:
    """A prompt's tokens in chunks, without start and end of text."""

    ids: tuple[tuple[int, ...], ...]
    cut: tuple[int, ...]
    """Tokens that found no place."""
    weights: tuple[float, ...] = ()
    """Of each token, those that found no place at the end; none when all are 1."""

    @property
    def kept(self) -> list[int]:
        return [token for chunk in self.ids for token in chunk]

    def places(self, length: int) -> list[int]:
        """Return where each kept token stands when every chunk is framed to `length` tokens."""
        return [number * length + 1 + place for number, chunk in enumerate(self.ids) for place in range(len(chunk))]

    def weight_rows(self, length: int) -> list[list[float]]:
        """Return the weights of every chunk's tokens, framed to `length` of them: what is no token of the prompt weighs 1."""
        rows = [[1.0] * length for _ in self.ids]
        for place, weight in zip(self.places(length), self.weights, strict=False):
            rows[place // length][place % length] = weight
        return rows


def in_chunks(pieces: Sequence[Sequence[int]], room: int, count: int) -> Chunks:
    """Split a prompt's pieces into `count` chunks of `room` tokens, each filled before the next begins, as kohya's trainer does.

    A piece of several tokens, the vectors of one placeholder, begins the next chunk where it would be split. A piece of
    none begins the next chunk too; after the last, all that follows is cut.
    """
    chunks, cut, ended = [list[int]()], list[int](), False
    for piece in pieces:
        if not piece:
            ended = len(chunks) == count
            chunks += [] if ended else [[]]
        if ended:
            cut += piece
            continue
        if room - len(chunks[-1]) < len(piece) <= room and len(chunks) < count:
            chunks.append([])
        for token in piece:
            if len(chunks[-1]) == room and len(chunks) < count:
                chunks.append([])
            (chunks[-1] if len(chunks[-1]) < room else cut).append(token)
    chunks += [[] for _ in range(count - len(chunks))]
    return Chunks(tuple(map(tuple, chunks)), tuple(cut))


def cut_warning(kind: str, cut: Mapping[str, int], max_token_length: int) -> str:
    """Return the warning that texts, `kind` such as `captions`, were cut by so many tokens each."""
    text, tokens = max(cut.items(), key=lambda item: item[1])
    warning = f"{len(cut)} {kind} are too long and were cut at {max_token_length} tokens, such as {text[:80]!r} by {tokens}."
    return warning if max_token_length >= 3 * CHUNK else f"{warning} A higher max_token_length of LoadModel lets in more."
