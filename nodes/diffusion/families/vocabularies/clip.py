"""The tokenizer of OpenAI's CLIP (Radford et al. 2021), from the merges of its byte-pair encoding; needs no torch."""

import json
import lzma
from functools import cache
from pathlib import Path

MERGES = Path(__file__).parent / "clip_merges.txt.xz"
"""The 48894 merges, one a line, in order."""


@cache
def tokenizer_files() -> dict[str, str]:
    """Return `vocab.json` and `merges.txt`: bytes come first, then bytes that end a word, merges, and the two marks of texts."""
    merges = lzma.decompress(MERGES.read_bytes()).decode()
    letters = _letters()
    merged = [line.replace(" ", "") for line in merges.splitlines()]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *merged, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return {"vocab.json": json.dumps(vocabulary), "merges.txt": f"#version: 0.2\n{merges}"}


def _letters() -> list[str]:
    """A visible letter for each byte: Latin-1's own first, then the bytes that have none, from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = len(set(range(256)) - set(visible))
    return [chr(byte) for byte in visible] + [chr(0x100 + number) for number in range(hidden)]
