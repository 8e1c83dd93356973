"""ScoreImages and MeasureLoss, against plain computations."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from nodes.data.encode_latents import EncodeLatents
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.handles.results import GeneratedImage, ImageSet
from nodes.diffusion.pictures import clip_image_embeddings
from nodes.diffusion.pictures.clip_image_embeddings import clip_pixels
from nodes.diffusion.pictures.image_metrics import in_known_words, mean_psnr
from nodes.diffusion.pictures.pictures import open_picture
from nodes.diffusion.randomness import generator_for
from nodes.diffusion.text.encoding import encode_prompts
from nodes.evaluation.measure_loss import MeasureLoss
from nodes.evaluation.score_images import ScoreImages
from nodes.models.load_model import LoadModel
from tests.models import BUNDLED, fresh_model, make_model_folder, random_adapter
from tests.nodes.node_runner import NodeRunner, captions, images


@pytest.fixture
def references(runner: NodeRunner) -> Any:
    for name in ("a.png", "b.png", "c.png"):
        runner.picture(f"p/{name}", (32, 32))
    return images(runner)


@pytest.fixture
def drawn(runner: NodeRunner) -> ImageSet:
    """Two rows of three pictures."""
    made: list[GeneratedImage] = []
    for label in ("base", "trained"):
        for number, prompt in enumerate(["a <fox> face", "red apple", "<fox>"]):
            path = runner.picture(f"drawn/{label}{number}.png", (32, 32))
            made.append(GeneratedImage(path, label, prompt, number))
    return ImageSet(tuple(made), columns=3)


def image_features(paths: list[Path]) -> torch.Tensor:
    vision = CLIPVisionModelWithProjection.from_pretrained(BUNDLED / "image_encoder", dtype=torch.float32)
    processing = read_config(BUNDLED / "feature_extractor" / "preprocessor_config.json")
    with torch.no_grad():
        return vision(pixel_values=torch.cat([clip_pixels(open_picture(path), processing) for path in paths])).image_embeds


def text_features(texts: list[str]) -> torch.Tensor:
    tokenizer = CLIPTokenizer.from_pretrained(BUNDLED / "tokenizer")
    encoder = CLIPTextModelWithProjection.from_pretrained(BUNDLED / "text_encoder", dtype=torch.float32)
    with torch.no_grad():
        return encoder(**tokenizer(texts, padding=True, return_tensors="pt")).text_embeds


def test_rows_are_scored_as_plain_lines_do(runner: NodeRunner, references: Any, drawn: ImageSet) -> None:
    node = ScoreImages(prompt_words="<fox>=fox", psnr=True)
    scores = runner.run(node, images=[drawn], references=references)
    assert [row.label for row in scores.rows] == ["base", "trained"]
    own = [runner.root / "p" / f"{name}.png" for name in "abc"]
    wanted, texts = image_features(own), text_features(["a fox face", "red apple", "fox"])
    for number, row in enumerate(scores.rows):
        paths = [image.file for image in drawn.images[3 * number : 3 * number + 3]]
        found, values = image_features(paths), dict(row.values)
        pairs = [cosine_similarity(a, b, dim=0) for a in found for b in wanted]
        assert values["clip_i"] == pytest.approx(float(sum(pairs)) / 9, abs=1e-4)
        assert values["clip_t"] == pytest.approx(cosine_similarity(found, texts).mean().item(), abs=1e-4)
        psnr = 0.0
        for one, other in zip(paths, own, strict=True):
            a, b = (list(Image.open(path).tobytes()) for path in (one, other))
            error = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)
            psnr += 10 * math.log10(255**2 / error) / 3
        assert values["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert runner.messages.texts[0].startswith("base: PSNR ")
    assert "CLIP-I" in runner.messages.texts[1]


def test_rows_of_several_sets_follow_each_other(runner: NodeRunner, drawn: ImageSet) -> None:
    one = ImageSet(drawn.images[:3], 3)
    scores = runner.run(ScoreImages(), images=[drawn, one])
    assert [row.label for row in scores.rows] == ["base", "trained", "base"]
    assert scores.rows[0] == scores.rows[2]
    assert [name for name, _ in scores.rows[0].values] == ["clip_t"]


def test_what_was_measured_is_remembered(
    runner: NodeRunner, references: Any, drawn: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = runner.run(ScoreImages(), images=[drawn], references=references)
    looked: list[Any] = []
    original = clip_image_embeddings.clip_pixels
    monkeypatch.setattr(clip_image_embeddings, "clip_pixels", lambda *args: (looked.append(1), original(*args))[1])
    assert runner.run(ScoreImages(), images=[drawn], references=references) == first
    assert not looked
    assert len(runner.messages.texts) == 2
    other = runner.run(ScoreImages(prompt_words="<fox>=fire"), images=[drawn], references=references)
    assert looked
    assert dict(other.rows[0].values)["clip_t"] != dict(first.rows[0].values)["clip_t"]
    assert dict(other.rows[0].values)["clip_i"] == dict(first.rows[0].values)["clip_i"]


def test_nothing_to_say_of_a_placeholder_alone(runner: NodeRunner, drawn: ImageSet) -> None:
    alone = ImageSet(drawn.images[2:3], 1)
    assert runner.run(ScoreImages(), images=[alone]).rows[0].values == ()
    assert runner.messages.texts == ["base: nothing to measure."]


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a <fox> in <s>, red", "a fox in , red"),
        ("<FOX> sksd sks", "sksd red dog"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("plain", "plain"),
        ("<unknown>", ""),
    ],
)
def test_placeholders_become_words(prompt: str, wanted: str) -> None:
    assert in_known_words(prompt, {"<fox>": "fox", "sks": "red dog"}) == wanted


def test_equal_pictures_count_as_a_hundred_decibel() -> None:
    white, black = Image.new("RGB", (4, 4), "white"), Image.new("RGB", (4, 4))
    assert mean_psnr([white], [white]) == 100
    assert mean_psnr([white, white], [white, black]) == 50


def refused(runner: NodeRunner, node: Any, **inputs: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        runner.run(node, **inputs)
    assert caught.value.remedy
    return caught.value


def test_what_cannot_be_scored_is_refused(runner: NodeRunner, references: Any, drawn: ImageSet) -> None:
    assert refused(runner, ScoreImages(psnr=True), images=[drawn]).field == "references"
    few = replace(drawn, columns=2)
    assert "has 2 and the references have 3" in str(refused(runner, ScoreImages(psnr=True), images=[few], references=references))
    large = images(runner, resolution=64)
    assert "32 x 32 and 64 x 64" in str(refused(runner, ScoreImages(psnr=True), images=[drawn], references=large))
    make_model_folder(runner.root / "model", "sd1")
    assert refused(runner, ScoreImages(clip="model"), images=[drawn]).field == "clip"
    for lines in ("fox", "=fox", "<a>=b\nc"):
        with pytest.raises(ValidationError, match="equals sign"):
            ScoreImages(prompt_words=lines)


def prepared(runner: NodeRunner, family: Any) -> tuple[Any, Any, Any]:
    make_model_folder(runner.root / "model", family)
    for name in ("a.png", "b.png"):
        runner.picture(f"p/{name}", (32, 32), text=name)
    model, loaded = runner.run(LoadModel(model="model")), images(runner)
    return model, runner.run(EncodeLatents(), model=model, images=loaded), captions(runner, loaded)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_loss_is_that_of_plain_lines(runner: NodeRunner, family: str) -> None:
    model, latents, texts = prepared(runner, family)
    (row,) = runner.run(MeasureLoss(seed=4), models=[model], latents=latents, captions=texts).rows
    plain, total = fresh_model(runner.root / "model"), 0.0
    schedule = DDPMScheduler.from_pretrained(runner.root / "model" / "scheduler")
    for index, item in enumerate(latents.items):
        mean = load_file(item.views[0].file)["mean"]
        noise = torch.randn(4, *mean.shape, generator=generator_for(4, "validation", index))
        for level, timestep in enumerate((125, 375, 625, 875)):
            at = torch.tensor([timestep])
            alpha = schedule.alphas_cumprod[timestep]
            noisy = alpha.sqrt() * mean + (1 - alpha).sqrt() * noise[level]
            target = noise[level] if family == "sd1" else alpha.sqrt() * noise[level] - (1 - alpha).sqrt() * mean
            with torch.no_grad():
                hidden = encode_prompts(plain, [f"{'ab'[index]}.png"])["hidden"]
                error = plain.unet(noisy[None], at, hidden).sample - target
            total += error.square().mean().item() / 8
    assert row.label == "model"
    assert dict(row.values)["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_models_are_measured_at_the_same_noise_and_left_alone(runner: NodeRunner, family: str, tmp_path: Path) -> None:
    model, latents, texts = prepared(runner, family)
    adapter = random_adapter(runner.root / "model", tmp_path / "w.safetensors")
    trained = replace(model, adapters=(adapter,))
    scores = runner.run(MeasureLoss(), models=[model, trained, model], latents=latents, captions=texts)
    first, second, third = (dict(row.values)["loss"] for row in scores.rows)
    assert first == third != second
    assert scores.rows[1].label == "model + LoRA"
    assert len(runner.messages.texts) == 3
    other = runner.run(MeasureLoss(seed=1), models=[model], latents=latents, captions=texts)
    assert dict(other.rows[0].values)["loss"] != first


def test_what_cannot_be_measured_is_refused(runner: NodeRunner) -> None:
    model, latents, texts = prepared(runner, "sd1")
    inputs = {"models": [model], "latents": latents, "captions": texts}
    fewer = replace(latents, items=latents.items[:1])
    assert refused(runner, MeasureLoss(), **{**inputs, "latents": fewer}).field == "captions"
    assert refused(runner, MeasureLoss(), **{**inputs, "latents": replace(latents, vae_digest="x")}).field == "latents"
    lora = random_adapter(runner.root / "model", runner.root / "w.safetensors")
    untrained = replace(model, adapters=(replace(lora, weights=None),))
    assert refused(runner, MeasureLoss(), **{**inputs, "models": [untrained]}).field == "models"
