"""A VAE whose numbers are too large for fp16, as SDXL's are, and one whose weights are broken."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import latent_space
from nodes.diffusion.models.vae_encoding import encode_pictures
from nodes.diffusion.pictures.pictures import psnr
from nodes.diffusion.sampling.sampler import decode
from tests.models import fresh_model, make_model_folder

CPU = torch.device("cpu")
LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose VAE computes with numbers of some hundred thousand, which group norms bring back to one."""
    folder = make_model_folder(tmp_path_factory.mktemp("overflow") / "m", "sdxl")
    model: Any = fresh_model(folder)
    for layer in (model.vae.encoder.conv_in, model.vae.decoder.conv_in):
        largest = float(layer.weight.abs().max())
        layer.weight.mul_(60000 / largest)
        assert layer.weight.half().isfinite().all(), "the weights fit; what comes out does not"
    model.vae.save_pretrained(folder / "vae")
    return folder


def shown() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_latents_in_fp16_name_the_picture_and_the_remedy(folder: Path) -> None:
    with pytest.raises(InputError, match=r"latents of a\.png are not finite in fp16") as caught:
        encode_pictures(latent_space(fresh_model(folder, "fp16")), shown(), ["a.png", "b.png"])
    assert (caught.value.field, caught.value.remedy) == ("precision", "Choose fp32 or bf16.")
    exact, _ = encode_pictures(latent_space(fresh_model(folder)), shown(), ["a", "b"])
    near, _ = encode_pictures(latent_space(fresh_model(folder, "bf16")), shown(), ["a", "b"])
    assert exact.isfinite().all()
    assert torch.allclose(near, exact, atol=0.2 * float(exact.std()))


def test_pictures_in_fp16_are_drawn_as_in_fp32(folder: Path) -> None:
    half = fresh_model(folder, "fp16")
    drawn, exact = decode(half, LATENTS), decode(fresh_model(folder), LATENTS)
    assert all(psnr(one, other) > 40 for one, other in zip(drawn, exact, strict=True))
    assert len(set(exact[0].tobytes())) > 20, "not one color"
    with torch.no_grad():
        assert not half.vae.decode(LATENTS.half()).sample.isfinite().all(), "without our care it would overflow"


@pytest.mark.parametrize("arithmetic", [torch.float16, torch.bfloat16])
def test_a_preview_within_a_half_precision_training_is_decoded_in_fp32(folder: Path, arithmetic: torch.dtype) -> None:
    exact = decode(fresh_model(folder), LATENTS)
    for precision in ("fp32", "fp16"):
        with torch.autocast("cpu", arithmetic):
            drawn = decode(fresh_model(folder, precision), LATENTS)
        assert all(psnr(one, other) > 40 for one, other in zip(drawn, exact, strict=True))


def test_broken_weights_of_the_vae_are_told_from_overflow(tmp_path: Path) -> None:
    model: Any = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    model.vae.decoder.conv_out.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="picture that the VAE draws is not finite") as caught:
        decode(model, LATENTS)
    assert caught.value.field == "model"
    assert "another VAE" in caught.value.remedy
    model.vae.encoder.conv_out.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite in fp32") as caught:
        encode_pictures(latent_space(model), shown(), ["a", "b"])
    assert "another VAE" in caught.value.remedy
