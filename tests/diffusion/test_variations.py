"""What the UNet of a base is given for an image embedding, against diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableUnCLIPImg2ImgPipeline
from PIL import Image
from transformers import CLIPImageProcessor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.image_variation.model import with_unconditional
from nodes.diffusion.models.parts import put_weights
from nodes.diffusion.sampling.image_variation import sample_variations
from nodes.diffusion.sampling.sampler import make_scheduler
from tests.models import WIDTH
from tests.variations import KINDS, base_of, make_variation_folder


def latents_and_embeds(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 4, 8, 8, generator=generator), torch.randn(count, 1, WIDTH, generator=generator)


def predict(base: Any, latents: torch.Tensor, conditions: Any) -> torch.Tensor:
    with torch.no_grad():
        labels = conditions.get("class_labels")
        return base.model.unet(latents, 500, encoder_hidden_states=conditions["hidden"], class_labels=labels).sample


@pytest.mark.parametrize("kind", KINDS)
def test_unconditional_is_zeros_and_depends_on_no_embedding(tmp_path: Path, kind: str) -> None:
    base = base_of(make_variation_folder(tmp_path, kind))
    latents, embeds = latents_and_embeds()
    one, other = (with_unconditional(base.conditions(part)) for part in (embeds, -3 * embeds))
    doubled = torch.cat([latents, latents])
    first, second = predict(base, doubled, one), predict(base, doubled, other)
    assert torch.equal(first[:2], second[:2])
    assert not torch.allclose(first[2:], second[2:], atol=1e-4)
    if kind == "image variation":
        assert not one["hidden"][:2].any()
        zeros = predict(base, latents, base.conditions(torch.zeros(2, 1, WIDTH)))
        assert torch.allclose(zeros, first[:2], atol=1e-6)
    else:
        assert one.get("class_labels") is not None
        assert not one.get("class_labels")[:2].any()


def test_equal_tokens_act_like_one(tmp_path: Path) -> None:
    base = base_of(make_variation_folder(tmp_path, "image variation"))
    latents, embeds = latents_and_embeds()
    once, thrice = (predict(base, latents, base.conditions(embeds.repeat(1, k, 1))) for k in (1, 3))
    assert torch.allclose(once, thrice, atol=1e-5)


@pytest.mark.parametrize("noise_level", [0, 300])
def test_unclip_labels_are_those_of_diffusers(tmp_path: Path, noise_level: int) -> None:
    folder = make_variation_folder(tmp_path, "unclip")
    base = base_of(folder)
    _, embeds = latents_and_embeds()
    noise = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1))
    pipeline: Any = object.__new__(StableUnCLIPImg2ImgPipeline)
    object.__setattr__(pipeline, "image_normalizer", base.image_normalizer)
    object.__setattr__(pipeline, "image_noising_scheduler", base.image_noising_scheduler)
    with torch.no_grad():
        ours = base.conditions(embeds, noise_level=noise_level, noise=noise)
        theirs = StableUnCLIPImg2ImgPipeline.noise_image_embeddings(pipeline, embeds[:, 0], noise_level, noise)
    assert ours.get("class_labels") is not None
    assert ours.get("class_labels").shape == (2, 2 * WIDTH)
    assert torch.allclose(ours.get("class_labels"), theirs, atol=1e-6)


def test_pictures_are_embedded_as_the_feature_extractor_says(tmp_path: Path) -> None:
    folder = make_variation_folder(tmp_path, "image variation")
    base = base_of(folder)
    picture = Image.radial_gradient("L").resize((40, 30)).convert("RGB")
    processor: Any = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    pixels = processor(images=picture, return_tensors="pt").pixel_values
    encoder: Any = __import__("transformers").CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    with torch.no_grad():
        expected = encoder(pixels).image_embeds[0]
    assert torch.allclose(base.embed(picture), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_follows_the_embedding_and_the_seed(tmp_path: Path, kind: str) -> None:
    base = base_of(make_variation_folder(tmp_path, kind))
    _, embeds = latents_and_embeds()

    def draw(embeds: torch.Tensor, **changes: Any) -> list[bytes]:
        scheduler = make_scheduler(base.model, "ddim")
        options = {"seeds": [1, 2], "num_inference_steps": 2, **changes}
        return [picture.tobytes() for picture in sample_variations(base, embeds, scheduler=scheduler, **options)]

    first = draw(embeds[0])
    assert first == draw(embeds[0])
    assert first[0] != first[1]
    assert first != draw(5 * embeds[1])
    noised = draw(embeds[0], noise_level=600) != first
    assert noised == (kind == "unclip")


def test_a_weight_without_a_place_is_named(tmp_path: Path) -> None:
    base = base_of(make_variation_folder(tmp_path, "image variation"))
    for tensors in ({"unet.conv_in.weight": torch.zeros(1)}, {"nothing.weight": torch.zeros(1)}, {}):
        with pytest.raises(InputError, match=r"has no place|holds no weights"):
            put_weights(base.model.unet, tensors)
