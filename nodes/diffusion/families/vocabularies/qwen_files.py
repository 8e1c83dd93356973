"""The files of Qwen's tokenizer, as folders of models hold them; needs no torch."""

import json
import lzma
from functools import cache

from nodes.diffusion.families.vocabularies.byte_letters import byte_letters
from nodes.diffusion.families.vocabularies.qwen import CHAT_TEMPLATE, MERGES, SPECIAL_TOKENS, WHOLE_TOKENS


@cache
def tokenizer_files() -> dict[str, str]:
    """Return `vocab.json`, `merges.txt` and `tokenizer_config.json`: bytes come first, then merges, then whole tokens."""
    merges = lzma.decompress(MERGES.read_bytes()).decode()
    tokens = [*byte_letters().values(), *(line.replace(" ", "") for line in merges.splitlines())]
    added = {
        len(tokens) + number: {"content": token, "special": number < len(SPECIAL_TOKENS), "normalized": False}
        for number, token in enumerate((*SPECIAL_TOKENS, *WHOLE_TOKENS))
    }
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "added_tokens_decoder": added,
        "chat_template": CHAT_TEMPLATE,
    }
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return {
        "vocab.json": json.dumps(vocabulary),
        "merges.txt": f"#version: 0.2\n{merges}",
        "tokenizer_config.json": json.dumps(config),
    }
