"""Patterns of layer names: what PEFT's regular expressions match, in bounded time."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.diffusion.name_patterns import name_pattern

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
        ours, theirs = name_pattern(pattern)(name), re.match(rf"(.*\.)?({pattern})$", name)
    except (ValueError, re.error):
        return
    assert ours == bool(theirs)


@pytest.mark.parametrize(
    "pattern", ["to_q", "attn1.to_q", r"^mid\..*to_[qk]", r".*attn\d+\.to_q", "(a|mid).+q$", "(?:mid|up).*?q"]
)
def test_what_people_write_is_taken(pattern: str) -> None:
    assert name_pattern(pattern)("mid.attn1.to_q")
    assert not name_pattern(pattern)("mid.attn1.to_v")


@pytest.mark.parametrize(
    "pattern", ["(", "a)", "*a", "a**", "(?=a)", r"(a)\1", "a{2}", "[", "[z-a]", "a" * 1001, "((((((a))))))", r"\b", "a++"]
)
def test_what_is_not_known_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        name_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(([a-z_0-9]+)+[.]?)+Q", "(a*)*(a*)*b", "(.*)*(.*)*(.*)*x", "(a|a)*(a|a|a)*c"])
def test_a_pattern_made_to_hang_ends(pattern: str) -> None:
    assert not name_pattern(pattern)("a" * 200)
