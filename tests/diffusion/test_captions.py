"""Captions from names, templates and tags."""

import pytest

from nodes.diffusion.pictures.caption_templates import caption_from_name, checked_template, fill, shuffled


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("red_apple.png", "red apple"),
        ("animals/big-dog-12.jpeg", "big dog"),
        ("cat (3).webp", "cat"),
        ("a.b c.png", "a.b c"),
        ("photo.png.png", "photo.png"),
        ("007.png", ""),
    ],
)
def test_a_name_becomes_words(name: str, caption: str) -> None:
    assert caption_from_name(name) == caption


def test_a_template_is_filled_and_nothing_else_is_evaluated() -> None:
    values = {"caption": "a {name} cat", "name": "tom", "trigger": ""}
    template = checked_template("photo of {caption}, {name}")
    assert fill(template, values) == "photo of a {name} cat, tom"


@pytest.mark.parametrize("hostile", ["{name.__class__}", "{0}", "{nothing}", "{name!r}", "{", "a } b", "{{name}}", "{}"])
def test_a_template_with_other_braces_is_refused(hostile: str) -> None:
    with pytest.raises(ValueError, match="means nothing here"):
        checked_template(hostile)


def test_shuffled_tags_keep_their_front_and_lose_none() -> None:
    variants = shuffled("style, a, b, c, d", keep=2, count=5, seed="s")
    assert len(set(variants)) == 5
    for variant in variants:
        assert variant.startswith("style, a, ")
        assert sorted(variant.split(", ")) == ["a", "b", "c", "d", "style"]
    assert variants == shuffled("style, a, b, c, d", keep=2, count=5, seed="s")
    assert shuffled("one", keep=1, count=5, seed="s") == ("one",)
