"""Zero-shot tags of the bundled CLIP: right far more often than by chance, in every style it knows."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from nodes.diffusion.pictures import clip_tagging
from nodes.diffusion.pictures.clip_image_embeddings import clip_pixels
from nodes.diffusion.pictures.clip_tagging import load_tagger
from nodes.diffusion.pictures.pictures import open_picture

ROOT = Path(__file__).parent.parent.parent
CLIP = ROOT / "nodes" / "models" / "loom_emoji"
LINE = ROOT / "workflows" / "pictures" / "line"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures() -> dict[str, Image.Image]:
    return {path.stem.replace("_", " "): open_picture(path) for path in sorted(LINE.glob("*.webp"))[::4]}


def test_the_right_word_is_among_the_first(pictures: dict[str, Image.Image]) -> None:
    assert len(pictures) == 15
    tag = load_tagger(CLIP, list(pictures), CPU)
    found = {name: tag(picture, 3) for name, picture in pictures.items()}
    assert sum(name in words for name, words in found.items()) >= 10  # 3 by chance
    assert all(len(set(words)) == 3 for words in found.values())


def test_a_word_counts_by_its_nearest_template(pictures: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    words = list(pictures)
    together = clip_tagging._word_features(CLIP, words, CPU)
    assert together.shape[:2] == (len(clip_tagging.TEMPLATES), len(words))
    assert torch.allclose(together.norm(dim=-1), torch.ones(together.shape[:2]), atol=1e-5)
    templates = clip_tagging.TEMPLATES
    for number, template in enumerate(templates):
        monkeypatch.setattr(clip_tagging, "TEMPLATES", (template,))
        assert torch.allclose(clip_tagging._word_features(CLIP, words, CPU)[0], together[number], atol=1e-4)


def test_more_tags_than_words_gives_every_word_once(pictures: dict[str, Image.Image]) -> None:
    picture = next(iter(pictures.values()))
    assert sorted(load_tagger(CLIP, ["sun", "star", "50% {off}"], CPU)(picture, 20)) == ["50% {off}", "star", "sun"]


def test_many_words_are_encoded_in_parts() -> None:
    words = [f"word {number}" for number in range(70)]
    whole = clip_tagging._word_features(CLIP, words, CPU)
    assert whole.shape[1] == 70
    assert torch.allclose(whole[:, 64:], clip_tagging._word_features(CLIP, words[64:], CPU), atol=1e-4)


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (7, 7)])
def test_any_shape_is_seen_as_a_square(size: tuple[int, int]) -> None:
    processing = {"crop_size": {"height": 64}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    pixels = clip_pixels(Image.new("RGB", size, "white"), processing)
    assert pixels.shape == (1, 3, 64, 64)
    assert torch.allclose(pixels, torch.ones(()))
