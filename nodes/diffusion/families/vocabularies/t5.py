"""The tokenizer of T5 v1.1 (Raffel et al. 2020), from the pieces of its unigram model (Kudo 2018)."""

import base64
import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import T5Tokenizer

VOCABULARY = Path(__file__).parent / "t5_vocabulary.json.xz"
"""`pieces`: the 32100 pieces with their log-probabilities; `characters`: SentencePiece's table for normalizing, in base64.

`tests/vocabularies.py` makes the file.
"""


def t5_tokenizer() -> "T5Tokenizer":
    """Return a new tokenizer, which ends texts with `</s>` and pads with `<pad>`."""
    from transformers import T5Tokenizer

    vocabulary = json.loads(lzma.decompress(VOCABULARY.read_bytes()))
    return T5Tokenizer(
        vocab=[(piece, score) for piece, score in vocabulary["pieces"]],
        _spm_precompiled_charsmap=base64.b64decode(vocabulary["characters"]),
        model_max_length=512,
    )
