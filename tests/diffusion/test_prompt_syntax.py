"""Weights in prompts, as each program documents them; numbers worked out by hand."""

import pytest

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.prompt_checks import unread_weights_warning, without_networks, without_schedules
from nodes.diffusion.text.prompt_syntax import Emphasis, read_prompt


def read(prompt: str, emphasis: Emphasis, words: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    return [(span.text, round(span.weight, 6)) for span in read_prompt(prompt, emphasis, words)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red apple", [("a red apple", 1)]),
        ("", []),
        ("a (red:1.4) apple", [("a ", 1), ("red", 1.4), (" apple", 1)]),
        ("(a)((b))", [("a", 1.1), ("b", 1.21)]),
        ("[x] y", [("x", 0.909091), (" y", 1)]),
        ("(a (b:1.2):1.3)", [("a ", 1.3), ("b", 1.56)]),
        ("(unclosed [too", [("unclosed ", 1.1), ("too", 1)]),
        ("closed) too]: 1.3)", [("closed) too]: 1.3)", 1)]),
        (r"saber \(fate\) (x)", [("saber (fate) ", 1), ("x", 1.1)]),
        (r"\[x\] \\ \q", [(r"[x] \ q", 1)]),
        ("(smile :) :D", [("smile :", 1.1), (" :D", 1)]),
        ("(a:0)(b:-.5)", [("a", 0), ("b", -0.5)]),
        ("(a:b:1.5)", [("a:b", 1.5)]),
    ],
)
def test_automatic1111_multiplies_weights(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert read(prompt, "a1111") == read(prompt, "kohya") == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red apple", [("a red apple", 1)]),
        ("a (red:1.4) apple", [("a ", 1), ("red", 1.4), (" apple", 1)]),
        ("(a)((b))", [("a", 1.1), ("b", 1.21)]),
        ("[x] BREAK", [("[x] BREAK", 1)]),
        ("(a (b:1.2):1.3)", [("a ", 1.3), ("b", 1.2)]),
        ("(a (b):1.3)", [("a ", 1.3), ("b", 1.43)]),
        ("(unclosed (x)", [("(unclosed ", 1), ("x", 1.1)]),
        ("closed) too", [("closed) too", 1)]),
        (r"saber \(fate\) (x)", [("saber (fate) ", 1), ("x", 1.1)]),
        ("(:1.5) (a:b:1.5 )", [(":1.5", 1.1), (" ", 1), ("a:b", 1.5)]),
        ("(smile :D)", [("smile :D", 1.1)]),
    ],
)
def test_comfyui_sets_weights(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert read(prompt, "comfyui") == expected


def test_without_weights_all_is_text() -> None:
    assert read("(a:1.2) [b] BREAK", "none") == [("(a:1.2) [b] BREAK", 1)]


def test_break_begins_a_chunk_in_automatic1111_alone() -> None:
    spans = read_prompt("(red apple BREAK dog:1.2)", "a1111")
    assert [(span.text, span.weight, span.new_chunk) for span in spans] == [("red apple", 1.2, False), ("dog", 1.2, True)]
    assert read("a BREAK b BREAKS", "kohya") == [("a BREAK b BREAKS", 1)]
    assert read("a BREAK b BREAKS", "a1111") == [("a", 1), ("b BREAKS", 1)]


def test_brackets_of_a_new_word_are_its_own() -> None:
    assert read("([V] dog:1.2) [x]", "a1111", ("[v]",)) == [("[V] dog", 1.2), (" ", 1), ("x", 0.909091)]


@pytest.mark.parametrize("emphasis", ["a1111", "comfyui"])
def test_brackets_without_end_are_read_in_no_time(emphasis: Emphasis) -> None:
    assert read("(" * 100_000, emphasis)[0][0].startswith("(" * 1000)
    assert read("(a) " * 20_000, emphasis)[0] == ("a", 1.1)


@pytest.mark.parametrize("text", ["<lora:x:0.8>", "a <LYCO:my file:1> b", "<hypernet:x:1>", "<lora:x>"])
def test_a_network_in_a_prompt_names_the_node_to_use(text: str) -> None:
    with pytest.raises(ValueError, match=r"put Load(LoRA|Hypernetwork) between"):
        without_networks(text)


@pytest.mark.parametrize("prompt", ["[a|b]", "a [cat:dog:0.5] b", "[dog:10]", "[dog::3]"])
def test_what_changes_between_steps_is_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="between steps") as refused:
        without_schedules(prompt, "negative_prompt")
    assert refused.value.field == "negative_prompt"


def test_kohya_knows_no_changes_between_steps() -> None:
    assert read("[a|b] [x:0.5]", "kohya") == [("a|b", 0.909091), (" ", 1), ("x:0.5", 0.909091)]


def test_other_brackets_change_nothing_between_steps() -> None:
    without_schedules(r"[x] \[a|b\] [a: b] (a|b:1.2) <cat> :1]")
    without_schedules("[" * 100_000 + "|" * 100_000)


def test_weights_are_found_in_captions() -> None:
    told = unread_weights_warning("captions", ["(red:1.3) apple", r"saber \(fate:1\)", "(red)", "a: 1.3"])
    assert told == "1 captions hold weights, such as '(red:1.3) apple', which are letters here."
    assert unread_weights_warning("captions", ["(red)"]) == ""
