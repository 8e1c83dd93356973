"""Latent distributions against diffusers, for every batch that a picture may come in."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import latent_space
from nodes.diffusion.models.vae_encoding import encode_pictures
from tests.models import BUNDLED, fresh_model, make_model_folder

CPU = torch.device("cpu")


def pictures(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.mark.parametrize("shift", [None, 0.5])
def test_mean_and_deviation_equal_diffusers(tmp_path: Path, shift: float | None) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    model.vae.register_to_config(scaling_factor=0.25, shift_factor=shift)
    shown = pictures(3, 32)
    before = shown.clone()
    mean, std = encode_pictures(latent_space(model), shown, ["a", "b", "c"])
    with torch.no_grad():
        vae: Any = model.vae
        posterior = vae.encode(shown).latent_dist
    assert mean.shape == std.shape == (3, 4, 16, 16)
    assert torch.equal(mean, (posterior.mean - (shift or 0)) * 0.25)
    assert torch.equal(std, posterior.std * 0.25)
    drawn = (posterior.sample(torch.Generator().manual_seed(1)) - (shift or 0)) * 0.25
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(mean + std * noise, drawn, atol=1e-6)
    assert torch.equal(shown, before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_picture_s_latents_do_not_depend_on_its_company(precision: Any) -> None:
    model = fresh_model(BUNDLED, precision)
    shown = pictures(5, 64)
    together, _ = encode_pictures(latent_space(model), shown, list("abcde"))
    assert together.dtype == torch.float32
    for size in (1, 2, 3):
        apart = [encode_pictures(latent_space(model), part, ["x"] * len(part)) for part in shown.split(size)]
        assert torch.equal(torch.cat([mean for mean, _ in apart]), together), f"batches of {size}"
        assert all(len(mean) == len(std) <= size for mean, std in apart)


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_not_finite_is_named(tmp_path: Path, count: int) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    shown = pictures(count, 32)
    shown[-1, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"latents of odd\.png are not finite") as caught:
        encode_pictures(latent_space(model), shown, [*["fine.png"] * (count - 1), "odd.png"])
    assert caught.value.field == "precision"
