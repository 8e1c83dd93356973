"""EncodeLatents and EncodeCaptions alone, without a cache, and when a run is cut off between two items."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from graph_runtime.cache import Cache
from graph_runtime.context import RunContext, SilentReporter
from graph_runtime.errors import Interrupted
from nodes.data.encode_captions import EncodeCaptions
from nodes.data.encode_latents import EncodeLatents
from nodes.diffusion.families.code import latent_space
from nodes.diffusion.handles.datasets import CaptionedDataset, Picture, View
from nodes.diffusion.models.vae_encoding import encode_pictures
from nodes.diffusion.pictures.pictures import as_tensor, open_picture, render
from nodes.diffusion.text.encoding import encode_prompts
from tests.models import fresh_model, handle, make_model_folder

WHOLE = View(resized=(32, 32), crop=(0, 0), size=(32, 32))
NARROW = View(resized=(16, 32), crop=(0, 0), size=(16, 32))
MIRRORED = replace(WHOLE, flipped=True)


class Bench:
    """A model and five pictures of two sizes, of which two have the same content."""

    def __init__(self, root: Path, family: Any) -> None:
        self.root = root
        self.folder = make_model_folder(root / "m", family)
        self.model = handle(self.folder)
        self.located = {self.model.digest: self.folder}
        views = [(WHOLE, MIRRORED), (WHOLE,), (NARROW,), (WHOLE,), (WHOLE,)]
        pictures = tuple(self._picture(min(number, 3), number, each) for number, each in enumerate(views))
        captions = (("one",), ("two", "one"), ("",), ("x" * 90,), ("two",))
        self.dataset = CaptionedDataset(pictures, captions=captions, caption_dropout=0.2)

    def _picture(self, content: int, number: int, views: tuple[View, ...]) -> Picture:
        path = self.root / f"{content}.png"
        Image.effect_noise((32, 32), 10 + 50 * content).convert("RGB").save(path)
        self.located[f"content {content}"] = path
        return Picture(f"content {content}", f"{number}.png", 32, 32, views)

    def context(self, **options: Any) -> RunContext:
        return RunContext(located=self.located, device="cpu", **options)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "sd1")


class Counting(SilentReporter):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.texts: list[str] = []

    def progress(self, step: int, total: int) -> None:
        self.seen.append((step, total))

    def message(self, text: str, level: str) -> None:
        self.texts.append(text)


def test_latents_without_a_cache_are_those_of_each_view(bench: Bench) -> None:
    reporter = Counting()
    made = EncodeLatents(batch_size=2).run(bench.model, bench.dataset, bench.context(reporter=reporter))
    assert [item.name for item in made.items] == [f"{n}.png" for n in range(5)]
    assert made.vae_digest == bench.model.vae_digest
    assert reporter.seen[-1] == (5, 5), "the same content in the same view is encoded once"
    model = fresh_model(bench.folder)
    looked = 0
    for picture, item in zip(bench.dataset.pictures, made.items, strict=True):
        for view, latent in zip(picture.views, item.views, strict=True):
            shown = render(open_picture(bench.located[picture.digest], (255, 255, 255)), view)
            mean, std = encode_pictures(latent_space(model), as_tensor(shown)[None], [picture.name])
            tensors = load_file(latent.file)
            assert torch.equal(tensors["mean"], mean[0])
            assert torch.equal(tensors["std"], std[0])
            assert (latent.size, latent.crop, latent.original_size) == (view.size, view.crop, (32, 32))
            looked += 1
    assert looked == 6


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_captions_without_a_cache_are_encoded_once_each(tmp_path: Path, family: Any) -> None:
    bench, reporter = Bench(tmp_path, family), Counting()
    made = EncodeCaptions().run(bench.model, bench.dataset, bench.context(reporter=reporter))
    assert reporter.seen == [(4, 4)], "the empty one among them"
    assert made.items[0].files[0] == made.items[1].files[1]
    assert made.items[2].files[0] == made.empty
    assert made.caption_dropout == 0.2
    model = fresh_model(bench.folder)
    with torch.no_grad():
        expected = encode_prompts(model, ["two"])
    tensors = load_file(made.items[4].files[0])
    assert torch.allclose(tensors["hidden"], expected["hidden"][0], atol=1e-6)
    assert ("pooled" in tensors) == (family == "sdxl")
    if expected.get("pooled") is not None:
        assert torch.allclose(tensors["pooled"], expected.get("pooled")[0], atol=1e-6)


def test_long_captions_are_reported_when_they_come_from_the_cache_too(bench: Bench, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    reporters = [Counting(), Counting()]
    for reporter in reporters:
        EncodeCaptions().run(bench.model, bench.dataset, bench.context(store=cache, reporter=reporter))
    cache.close()
    assert reporters[1].seen == [], "nothing was encoded again"
    assert reporters[0].texts == reporters[1].texts
    assert len(reporters[0].texts) == 1
    assert "1 captions are too long" in reporters[0].texts[0]


def test_a_caption_s_embedding_does_not_depend_on_its_company(bench: Bench) -> None:
    whole = EncodeCaptions().run(bench.model, bench.dataset, bench.context())
    alone = CaptionedDataset(bench.dataset.pictures[4:], captions=bench.dataset.captions[4:])
    few = EncodeCaptions().run(bench.model, alone, bench.context())
    assert few.items[0].files[0].read_bytes() == whole.items[4].files[0].read_bytes()


@pytest.mark.parametrize("node", [EncodeLatents(batch_size=1), EncodeLatents(batch_size=2), EncodeLatents(batch_size=3)])
def test_an_interrupted_encoding_ends_with_the_same_files(bench: Bench, tmp_path: Path, node: EncodeLatents) -> None:
    whole = EncodeLatents(batch_size=8).run(bench.model, bench.dataset, bench.context())
    cache, reporter = Cache(tmp_path / "cache"), Counting()
    with pytest.raises(Interrupted):
        node.run(bench.model, bench.dataset, bench.context(store=cache, stop_requested=lambda: True))
    made = EncodeLatents(batch_size=2).run(bench.model, bench.dataset, bench.context(store=cache, reporter=reporter))
    assert reporter.seen[-1] == (5 - node.batch_size,) * 2, "what was encoded stays"
    files = [[view.file.read_bytes() for view in item.views] for item in made.items]
    assert files == [[view.file.read_bytes() for view in item.views] for item in whole.items]
    cache.close()


def test_one_more_picture_is_one_more_encode(bench: Bench, tmp_path: Path) -> None:
    cache, reporter = Cache(tmp_path / "cache"), Counting()
    fewer = replace(bench.dataset, pictures=bench.dataset.pictures[:3], captions=bench.dataset.captions[:3])
    EncodeLatents().run(bench.model, fewer, bench.context(store=cache))
    EncodeCaptions().run(bench.model, fewer, bench.context(store=cache))
    EncodeLatents().run(bench.model, bench.dataset, bench.context(store=cache, reporter=reporter))
    EncodeCaptions().run(bench.model, bench.dataset, bench.context(store=cache, reporter=reporter))
    assert reporter.seen == [(1, 1), (1, 1)]
    cache.close()
