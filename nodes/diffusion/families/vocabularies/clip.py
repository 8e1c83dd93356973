"""The tokenizer of OpenAI's CLIP (Radford et al. 2021), from the merges of its byte-pair encoding; needs no torch."""

import json
import lzma
from functools import cache
from pathlib import Path

from nodes.diffusion.families.vocabularies.byte_letters import byte_letters

MERGES = Path(__file__).parent / "clip_merges.txt.xz"
"""The 48894 merges, one a line, in order."""


@cache
def tokenizer_files() -> dict[str, str]:
    """Return `vocab.json` and `merges.txt`: bytes come first, then bytes that end a word, merges, and the two marks of texts."""
    merges = lzma.decompress(MERGES.read_bytes()).decode()
    letters = byte_letters().values()
    merged = [line.replace(" ", "") for line in merges.splitlines()]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *merged, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return {"vocab.json": json.dumps(vocabulary), "merges.txt": f"#version: 0.2\n{merges}"}
