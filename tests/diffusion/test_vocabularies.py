"""The tokenizers of today's language models, from data of our own."""

import base64
import hashlib
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from transformers import AutoTokenizer

from nodes.diffusion.families.vocabularies.byte_letters import byte_letters
from nodes.diffusion.families.vocabularies.qwen import qwen_tokenizer
from nodes.diffusion.families.vocabularies.t5 import t5_tokenizer

RANKS = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"
"""The sha256 of the file of ranks that Qwen's authors publish."""
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""The words that no token crosses, as its authors publish them."""
TEXTS = (
    "Hello world", "Crème brûlée, Ångström and e\u0301 in one café.", "A cat 🐈 and a family 👨‍👩‍👧 under a 🇯🇵 flag",
    "一只猫坐在红色的沙发上。", "3.14159 and 2026-12-01",
    "one\ntwo\r\n\n  three \n", "It's WE'LL don't", "\ttabs  and   spaces ", "Привет, שלום, नमस्ते, สวัสดี", "<|unknown|> <b>", "",
)  # fmt: skip
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships "
    "of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
"""What Qwen-Image and Krea 2 put before a prompt; their pipelines drop its 34 tokens."""


@pytest.fixture(scope="module")
def qwen() -> Any:
    return qwen_tokenizer()


@pytest.fixture(scope="module")
def t5() -> Any:
    return t5_tokenizer()


@pytest.fixture(scope="module")
def ranks(qwen: Any) -> dict[bytes, int]:
    bytes_of = {letter: byte for byte, letter in byte_letters().items()}
    tokens = qwen.convert_ids_to_tokens(list(range(151643)))
    return {bytes(bytes_of[letter] for letter in token): rank for rank, token in enumerate(tokens)}


def encode(text: str, ranks: dict[bytes, int]) -> list[int]:
    """Byte-pair encoding by ranks, without a list of merges: the pair of the lowest rank becomes one token."""
    ids: list[int] = []
    for word in regex.findall(WORDS, unicodedata.normalize("NFC", text)):
        parts = [bytes([byte]) for byte in word.encode()]
        while pairs := [(ranks[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
            _, at = min(pairs)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [ranks[part] for part in parts]
    return ids


def test_qwens_tokens_have_the_published_ranks(ranks: dict[bytes, int]) -> None:
    lines = (b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())
    assert hashlib.sha256(b"".join(lines)).hexdigest() == RANKS


@pytest.mark.parametrize("text", TEXTS)
def test_qwens_merges_encode_as_the_ranks_do(qwen: Any, ranks: dict[bytes, int], text: str) -> None:
    ids = qwen(text).input_ids
    assert ids == encode(text, ranks)
    assert qwen.decode(ids) == unicodedata.normalize("NFC", text)


def test_qwens_special_tokens_are_the_published_ones(qwen: Any) -> None:
    assert qwen("Hello world").input_ids == [9707, 1879]
    assert len(qwen) == 151669
    places = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|object_ref_start|>": 151646}
    places |= {"<|vision_start|>": 151652, "<|image_pad|>": 151655, "<|video_pad|>": 151656, "<tool_call>": 151657}
    places |= {"</tool_call>": 151658, "<|fim_prefix|>": 151659, "<|file_sep|>": 151664, "<think>": 151667, "</think>": 151668}
    assert {token: qwen(token).input_ids for token in places} == {token: [place] for token, place in places.items()}
    assert qwen.decode([151644, 9707, 151667, 151645], skip_special_tokens=True) == "Hello<think>"
    assert (qwen.pad_token_id, qwen.eos_token_id) == (151643, 151645)


def test_qwens_templates_have_the_published_lengths(qwen: Any) -> None:
    assert len(qwen(TEMPLATE).input_ids) == 34
    assert qwen("<|im_end|>\n<|im_start|>assistant\n").input_ids == [151645, 198, 151644, 77091, 198]


@pytest.mark.parametrize(("options", "thoughts"), [({}, ""), ({"enable_thinking": False}, "<think>\n\n</think>\n\n")])
def test_qwens_chat_has_the_form_that_pipelines_ask_for(qwen: Any, options: dict[str, Any], thoughts: str) -> None:
    chat = [{"role": "user", "content": "a cat"}]
    text = qwen.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **options)
    assert text == f"<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n{thoughts}"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a photo of a cat", [3, 9, 1202, 13, 3, 9, 1712, 1]),
        ("translate English to German: The house is wonderful.", [13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1]),
        ("", [1]),
        ("<pad><extra_id_0></s>", [0, 32099, 1, 1]),
    ],
)
def test_t5s_tokens_are_the_published_ones(t5: Any, text: str, ids: list[int]) -> None:
    assert t5(text).input_ids == ids
    assert (len(t5), t5.pad_token_id, t5.eos_token_id, t5.unk_token_id) == (32100, 0, 1, 2)


def test_t5_takes_the_forms_of_a_character_for_one(t5: Any) -> None:
    assert t5("ｆｕｌｌ\n① e\u0301  ﬁ ").input_ids == t5("full 1 é fi").input_ids


@pytest.mark.parametrize("name", ["qwen", "t5"])
def test_a_saved_tokenizer_gives_the_same_tokens(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    tokenizer = request.getfixturevalue(name)
    tokenizer.save_pretrained(tmp_path)
    again: Any = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert type(again) is type(tokenizer)
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    assert (again.chat_template, again.model_max_length) == (tokenizer.chat_template, tokenizer.model_max_length)
    texts = [*TEXTS, TEMPLATE, "<think></think><extra_id_7>"]
    assert again(texts).input_ids == tokenizer(texts).input_ids
    padded = {"padding": "max_length", "max_length": 8, "truncation": True}
    assert dict(again(texts, **padded)) == dict(tokenizer(texts, **padded))
