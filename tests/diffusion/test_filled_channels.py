"""Models for inpainting and editing, used for text alone, against diffusers' own pipelines and the UNet itself."""

import gc
import weakref
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.diffusion.adapters.apply import applied
from nodes.diffusion.families.code import predict
from nodes.diffusion.families.ddpm import DDPM
from nodes.diffusion.families.registry import facts
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.models.active import ActiveModel, held
from nodes.diffusion.models.extra_unet_channels import _HiddenPicture
from nodes.diffusion.models.vae_encoding import encode_pictures
from nodes.diffusion.sampling.sampler import denoise, make_scheduler
from nodes.diffusion.text.encoding import encode_prompts
from nodes.diffusion.training.denoising_loss import denoising_loss
from tests.models import fresh_model, make_model_folder

CPU = torch.device("cpu")
PROMPTS = ["red apple", "a house"]
SIZE = (24, 16)
each_family = pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
each_purpose = pytest.mark.parametrize("channels", [9, 8], ids=["inpainting", "instruct-pix2pix"])


def opened(folder: Path, family: Any, channels: int) -> ActiveModel:
    """A model whose VAE is sure of its latents: diffusers' pipelines draw from the posterior of the masked picture."""
    make_model_folder(folder, family, in_channels=channels)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    tensors["quant_conv.weight"][4:], tensors["quant_conv.bias"][4:] = 0, -60
    save_file(tensors, file, {"format": "pt"})
    return fresh_model(folder)


def plain_unet(model: ActiveModel) -> Any:
    return UNet2DConditionModel.from_pretrained(model.parts.folder / "unet", local_files_only=True)


def pipeline(model: ActiveModel) -> Any:
    """diffusers' own for such a model, with a UNet that fills no channels."""
    parts = {"vae": model.vae, "unet": plain_unet(model), "scheduler": make_scheduler(model, "ddim")}
    parts |= {"text_encoder": model.text_encoders[0], "tokenizer": model.tokenizers[0]}
    sdxl = model.info.family == "sdxl"
    if sdxl:
        parts |= {"text_encoder_2": model.text_encoders[1], "tokenizer_2": model.tokenizers[1], "add_watermarker": False}
    else:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = getattr(diffusers, facts(model.info.family).pipelines[model.info.purpose])(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def ours(model: ActiveModel) -> Tensor:
    scheduler = make_scheduler(model, "ddim")
    options: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 3.0, "size": SIZE, "scheduler": scheduler}
    return denoise(model, PROMPTS, seeds=[3, 4], negative_prompt="blurry", **options)


def first_noise() -> Tensor:
    return torch.stack([torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)])


@each_family
def test_inpainting_equals_diffusers_under_a_full_mask(tmp_path: Path, family: str) -> None:
    model = opened(tmp_path, family, 9)
    found = ours(model)
    theirs = pipeline(model)(
        prompt=PROMPTS,
        negative_prompt=["blurry"] * 2,
        image=torch.rand(2, 3, *SIZE[::-1]),
        mask_image=torch.ones(2, 1, *SIZE[::-1]),
        strength=1.0,
        num_inference_steps=4,
        guidance_scale=3.0,
        width=SIZE[0],
        height=SIZE[1],
        latents=first_noise(),
        output_type="latent",
    ).images
    assert found.shape == theirs.shape == (2, 4, 8, 12)
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-4)


def test_editing_equals_diffusers_without_a_picture(tmp_path: Path) -> None:
    model = opened(tmp_path, "sd1", 8)
    found = ours(model)
    theirs = pipeline(model)(
        prompt=PROMPTS,
        negative_prompt=["blurry"] * 2,
        image=torch.zeros(2, 4, 8, 12),
        num_inference_steps=4,
        guidance_scale=3.0,
        image_guidance_scale=1.5,
        latents=first_noise(),
        output_type="latent",
    ).images
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-4)


@each_purpose
def test_training_sees_what_drawing_sees(tmp_path: Path, channels: int) -> None:
    model = opened(tmp_path, "sd1", channels)
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 12, generator=generator) for _ in range(2))
    conditions, timesteps = encode_prompts(model, PROMPTS), torch.tensor([10, 900])
    text, objective = conditions["hidden"], DDPM(model.noise_scheduler)
    loss = denoising_loss(lambda noisy, level: predict(model, noisy, level, conditions, []), objective, latents, noise, timesteps)
    picture = torch.zeros(2, 4, 8, 12)
    if channels == 9:
        grey = model.vae.encode(torch.zeros(2, 3, 16, 24)).latent_dist.mean * model.vae.config["scaling_factor"]
        picture = torch.cat([torch.ones(2, 1, 8, 12), grey], dim=1)
    noisy = model.noise_scheduler.add_noise(latents, noise, timesteps)  # type: ignore[arg-type]
    predicted = plain_unet(model)(torch.cat([noisy, picture], dim=1), timesteps, text).sample
    torch.testing.assert_close(loss, (predicted - noise).square().mean(), rtol=1e-5, atol=1e-6)


def predicted(model: ActiveModel, side: int = 8) -> Tensor:
    text = torch.ones(1, 77, 32)
    with torch.no_grad():
        return model.unet(torch.ones(1, 4, side, side), 500, text).sample


def test_grey_is_encoded_once_for_each_size_and_anew_by_another_vae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = opened(tmp_path / "m", "sd1", 9), list[Any]()

    def noted(*given: Any) -> Any:
        sizes.append(tuple(given[1].shape[2:]))
        return encode_pictures(*given)

    monkeypatch.setattr("nodes.diffusion.models.extra_unet_channels.encode_pictures", noted)
    first = predicted(model)
    predicted(model, 6)
    assert torch.equal(predicted(model), first)
    assert sizes == [(16, 16), (12, 12)]

    trained = tmp_path / "vae.safetensors"
    save_file({"vae.encoder.conv_out.bias": torch.full((8,), 3.0)}, trained)
    with applied([WeightChange(name="vae", unet=False, vae=True, weights=trained)], model):
        assert not torch.allclose(predicted(model), first)
    assert torch.equal(predicted(model), first)


def test_autocast_leaves_the_hidden_picture_as_it_is(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "a", "sd1", 9), opened(tmp_path / "b", "sd1", 9)
    with torch.autocast("cpu", torch.bfloat16):
        predicted(one)
    assert torch.equal(predicted(one), predicted(other))


def test_a_model_that_fills_channels_is_freed_at_once(tmp_path: Path) -> None:
    gc.disable()
    try:
        with held(opened(tmp_path, "sd1", 9)) as model:
            predicted(model)
            unet = weakref.ref(model.unet)
        del model
        assert unet() is None
    finally:
        gc.enable()


def test_the_grey_picture_of_a_half_precision_vae_does_not_overflow(tmp_path: Path) -> None:
    model: Any = opened(tmp_path / "m", "sd1", 9)
    model.vae.encoder.conv_in.bias.fill_(60_000)  # twice as much is beyond fp16
    model.vae.encoder.conv_in.weight.fill_(0)
    first = model.vae.encoder.down_blocks[0].resnets[0]
    first.conv2.weight.fill_(0)
    first.conv2.bias.fill_(60_000)
    model.vae.save_pretrained(model.parts.folder / "vae")
    half = fresh_model(model.parts.folder, "fp16")
    channels = [_HiddenPicture(lambda one=one: one.vae).channels(torch.zeros(1, 4, 8, 8)) for one in (model, half)]
    torch.testing.assert_close(*channels, rtol=1e-2, atol=1e-2)
    assert half.vae.dtype == torch.float16
