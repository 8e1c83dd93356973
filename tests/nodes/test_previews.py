"""What previews of a training show."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from PIL import Image

from nodes.diffusion.handles.datasets import CaptionedDataset, CaptionItem, EmbeddingDataset
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.text.prompt_syntax import read_prompt
from nodes.methods.training import (
    Prompts,
    _preview,  # pyright: ignore[reportPrivateUsage]
    preview_prompts,
)

CAPTIONS = (("an owl", "owl"), ("",), ("a cat",), ("a cat",), ("a dog",), ("a hat",))
DATASET = CaptionedDataset((), (0, 0, 0), CAPTIONS, 0.0)
EVERY = DenoisingSettings(preview_every=10)


def test_prompts_that_are_set_are_shown() -> None:
    given = EVERY.model_copy(update={"preview_prompt": "a boat\n\n a sun "})
    assert preview_prompts(given, DATASET) == Prompts(("a boat", "a sun"), "a1111")


def test_without_prompts_captions_are_shown() -> None:
    assert preview_prompts(EVERY, DATASET) == Prompts(("an owl", "a dog"), "none")
    items = tuple(CaptionItem("x", captions, (Path(),) * len(captions)) for captions in CAPTIONS[:2])
    assert preview_prompts(EVERY, EmbeddingDataset(items, Path(), 0.0, "", "kohya")) == Prompts(("an owl",), "kohya")


def test_nothing_is_shown_unless_it_is_wanted() -> None:
    assert preview_prompts(DenoisingSettings(preview_prompt="a boat"), DATASET) == Prompts()


def test_a_prompt_that_cannot_be_drawn_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def sample(model: Any, prompts: tuple[str, ...], *, emphasis: Any, **_: Any) -> list[Image.Image]:
        read.extend(span.text for prompt in prompts for span in read_prompt(prompt, emphasis))
        return [Image.new("RGB", (4, 4))]

    monkeypatch.setattr("nodes.diffusion.sampling.sample", sample)
    context: Any = Mock()
    model: Any = Mock()
    letters = preview_prompts(EVERY, replace(DATASET, captions=(("a [cat|dog]",),)))
    for prompts in (letters, replace(letters, emphasis="a1111")):
        _preview(10, prompts, EVERY, model, context)
    assert read == ["a [cat|dog]"]
    assert context.preview.call_count == 1
    (told,) = (call.args for call in context.message.call_args_list)
    assert told[0].startswith("no preview at step 10: '[cat|dog]' would change the prompt")
