"""The tokenizer of Qwen2.5 and Qwen3, from the merges of its byte-pair encoding (Yang et al. 2024, 2025)."""

import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.diffusion.families.vocabularies.byte_letters import byte_letters

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

MERGES = Path(__file__).parent / "qwen_merges.txt.xz"
"""The 151387 merges, one a line, in order; `tests/vocabularies.py` makes the file."""
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""Tokens that decoding can leave out; they follow the merges, from 151643 on."""
WHOLE_TOKENS = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>",
    "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
"""Tokens that are never split and that decoding keeps; they follow the special ones, from 151657 to 151668."""
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
"""Qwen3's chat of plain turns, for the pipelines of diffusers that open a folder with this tokenizer."""


def qwen_tokenizer() -> "Qwen2Tokenizer":
    """Return a new tokenizer of the 151669 tokens, which pads with `<|endoftext|>`."""
    from transformers import AddedToken, Qwen2Tokenizer

    lines = lzma.decompress(MERGES.read_bytes()).decode().splitlines()
    merges: Any = [tuple(line.split(" ")) for line in lines]  # transformers' own annotation leaves the pairs out
    tokens = [*byte_letters().values(), *map("".join, merges)]
    whole = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    whole += [AddedToken(token, special=False, normalized=False) for token in WHOLE_TOKENS]
    return Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        eos_token="<|im_end|>",
        extra_special_tokens=list(SPECIAL_TOKENS[1:]),
        added_tokens_decoder=dict(enumerate(whole, start=len(tokens))),
        chat_template=CHAT_TEMPLATE,
        model_max_length=131072,
    )
