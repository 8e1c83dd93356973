"""What previews of a training show."""

from pathlib import Path

from nodes.diffusion.settings import DenoisingSettings
from nodes.diffusion.values import CaptionedDataset, CaptionItem, EmbeddingDataset
from nodes.methods.training import preview_prompts

CAPTIONS = (("an owl", "owl"), ("",), ("a cat",), ("a cat",), ("a dog",), ("a hat",))
DATASET = CaptionedDataset((), (0, 0, 0), CAPTIONS, 0.0)
EVERY = DenoisingSettings(preview_every=10)


def test_prompts_that_are_set_are_shown() -> None:
    given = EVERY.model_copy(update={"preview_prompt": "a boat\n\n a sun "})
    assert preview_prompts(given, DATASET) == ["a boat", "a sun"]


def test_without_prompts_captions_are_shown() -> None:
    assert preview_prompts(EVERY, DATASET) == ["an owl", "a dog"]
    items = tuple(CaptionItem("x", captions, (Path(),) * len(captions)) for captions in CAPTIONS[:2])
    assert preview_prompts(EVERY, EmbeddingDataset(items, Path(), 0.0, "")) == ["an owl"]


def test_nothing_is_shown_unless_it_is_wanted() -> None:
    assert preview_prompts(DenoisingSettings(preview_prompt="a boat"), DATASET) == []
