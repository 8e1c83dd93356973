"""Patterns of layer names: what PEFT's regular expressions match, in bounded time."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from nodes.diffusion.adapters.lora.name_patterns import Work, name_pattern
from nodes.diffusion.adapters.lora.scales import PeftConfig
from nodes.diffusion.errors import InputError

NAMES = ["a", "a.b", "ab.a.bb", "mid.attn1.to_q", "mid.attn10.to_q", "b.b", "a.", "ab1"]
PIECES = [
    "a",
    "b",
    ".",
    r"\.",
    "1",
    "[ab]",
    "[^a]",
    "[a-c1]",
    r"\d",
    r"\w",
    "^",
    "$",
    "|",
    "(",
    ")",
    "(?:",
    "*",
    "+",
    "?",
    "to_q",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), st.sampled_from(NAMES))
def test_what_is_taken_matches_as_peft_matches(pattern: str, name: str) -> None:
    try:
        ours, theirs = name_pattern(pattern)(name, Work()), re.match(rf"(.*\.)?({pattern})$", name)
    except (ValueError, re.error):
        return
    assert ours == bool(theirs)


@pytest.mark.parametrize(
    "pattern", ["to_q", "attn1.to_q", r"^mid\..*to_[qk]", r".*attn\d+\.to_q", "(a|mid).+q$", "(?:mid|up).*?q"]
)
def test_what_people_write_is_taken(pattern: str) -> None:
    assert name_pattern(pattern)("mid.attn1.to_q", Work())
    assert not name_pattern(pattern)("mid.attn1.to_v", Work())


@pytest.mark.parametrize(
    "pattern", ["(", "a)", "*a", "a**", "(?=a)", r"(a)\1", "a{2}", "[", "[z-a]", "a" * 1001, "((((((a))))))", r"\b", "a++"]
)
def test_what_is_not_known_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        name_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(([a-z_0-9]+)+[.]?)+Q", "(a*)*(a*)*b", "(.*)*(.*)*(.*)*x", "(a|a)*(a|a|a)*c"])
def test_a_pattern_made_to_hang_ends(pattern: str) -> None:
    assert not name_pattern(pattern)("a" * 200, Work())


NAME = "text_model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CHOICE = r".*(down|up)_blocks\.[0-9]+\.attentions\.[0-9]+\..*attn[12]\.(to_q|to_k|to_v|to_out\.0)$"


@pytest.mark.parametrize(
    ("pattern", "most"), [("attn1.to_q", 1), ("^down.*attn1$", 500), (r".*\.attentions\.[0-9]+\..*", 1500), (CHOICE, 1500)]
)
def test_what_people_write_takes_little_work(pattern: str, most: int) -> None:
    name_pattern(pattern)(NAME, Work(most))


def test_the_work_for_all_names_of_a_file_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"alpha_pattern": {"(" * 5 + ".*.?" * 80 + ")*" * 5 + "x": 1}}))
    configs = PeftConfig.by_part("a.safetensors", None, file, "unet")
    configs["unet"]._work.left = 100_000
    for part in ("unet", "text_encoder_1"):
        with pytest.raises(InputError, match="take too long to match"):
            configs[part].scale(NAME, 1)
