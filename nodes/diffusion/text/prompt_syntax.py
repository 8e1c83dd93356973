"""Weights in prompts, `(apple:1.4)`: what AUTOMATIC1111, ComfyUI and kohya's trainer each read them as."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from nodes.diffusion.handles.prompt_checks import without_schedules

Emphasis = Literal["none", "a1111", "comfyui", "kohya"]
"""Whose weights are meant. `none` takes brackets as letters; `kohya` reads AUTOMATIC1111's without `BREAK` and schedules."""

STEP = 1.1
"""The factor of a pair of brackets without a number."""
MAX_DEPTH = 64
"""Brackets inside each other; further ones are letters, so that no prompt takes long to read."""
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
A1111 = rf"\\[()\[\]\\]|\\|[(\[]|:\s*{NUMBER}\s*\)|[)\]]|[^\\()\[\]:]+|:"
COMFYUI = r"\\[()]|[()]|[^\\()]+|\\"
OWN_WEIGHT = re.compile(rf":\s*({NUMBER})\s*$")
LONGEST_WEIGHT = 24
"""Characters before a closing bracket in which its weight is looked for."""
BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True)
class Span:
    """A part of a prompt and the weight of its tokens."""

    text: str
    weight: float = 1.0
    new_chunk: bool = False
    """True if it begins another chunk of tokens, as after `BREAK`."""


def read_prompt(prompt: str, emphasis: Emphasis, words: Iterable[str] = ()) -> list[Span]:
    """Return a prompt's text, without the syntax, and its weights; `words` are placeholders, whose brackets are letters."""
    if emphasis == "none":
        return [Span(prompt)]
    patterns = [*sorted(map(re.escape, words), key=len, reverse=True), COMFYUI if emphasis == "comfyui" else A1111]
    tokens = re.findall("|".join(patterns), prompt, re.IGNORECASE)
    if emphasis == "comfyui":
        return list(_in_comfyui(tokens))
    spans = _merged(_in_a1111(tokens))
    if emphasis == "kohya":
        return spans
    without_schedules(prompt)
    return [part for span in spans for part in _broken(span)]


def _in_a1111(tokens: list[str]) -> list[Span]:
    """Return the spans of AUTOMATIC1111: weights multiply, and brackets, also those never closed, act on all inside."""
    texts, weights = list[str](), list[float]()
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(start: int, factor: float) -> None:
        weights[start:] = [weight * factor for weight in weights[start:]]

    for token in tokens:
        if token in opened and len(opened[token]) < MAX_DEPTH:
            opened[token].append(len(texts))
        elif token == ")" and opened["("]:
            multiply(opened["("].pop(), STEP)
        elif token == "]" and opened["["]:
            multiply(opened["["].pop(), 1 / STEP)
        elif token[0] == ":" and token[-1] == ")" and opened["("]:
            multiply(opened["("].pop(), float(token[1:-1]))
        else:
            texts.append(token.removeprefix("\\"))
            weights.append(1.0)
    for start in opened["("]:
        multiply(start, STEP)
    for start in opened["["]:
        multiply(start, 1 / STEP)
    return [Span(text, weight) for text, weight in zip(texts, weights, strict=True)]


def _merged(spans: list[Span]) -> list[Span]:
    """Join neighbors of one weight to one text, so that their letters make the words that they look like."""
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].weight == span.weight:
            merged[-1] = replace(span, text=merged[-1].text + span.text)
        else:
            merged.append(span)
    return merged


def _broken(span: Span) -> list[Span]:
    """Return a span cut at each `BREAK`."""
    return [Span(text, span.weight, number > 0) for number, text in enumerate(BREAK.split(span.text))]


def _in_comfyui(tokens: list[str]) -> Iterator[Span]:
    """Yield the spans of ComfyUI: a number is the weight itself, brackets without one multiply, and one never closed is text."""
    closing, opened = dict[int, int](), list[int]()
    for place, token in enumerate(tokens):
        if token == "(" and len(opened) < MAX_DEPTH:
            opened.append(place)
        elif token == ")" and opened:
            closing[opened.pop()] = place
    ends, weights, text = set(closing.values()), [1.0], ""
    for place, token in enumerate(tokens):
        if place not in closing and place not in ends:
            text += token.removeprefix("\\") if token[1:] else token
            continue
        if text:
            yield Span(text, weights[-1])
        text = ""
        if place in ends:
            weights.pop()
        elif own := _own_weight(tokens, place, closing[place]):
            tokens[closing[place] - 1] = own[0]
            weights.append(own[1])
        else:
            weights.append(weights[-1] * STEP)
    if text:
        yield Span(text)


def _own_weight(tokens: list[str], start: int, end: int) -> tuple[str, float] | None:
    """Return what stands before the number at the end of a pair of brackets, and the number."""
    last = tokens[end - 1]
    found = OWN_WEIGHT.search(last, max(0, len(last) - LONGEST_WEIGHT)) if end - 1 > start else None
    if found is None or (found.start() == 0 and end - 2 == start):
        return None
    return last[: found.start()], float(found[1])
