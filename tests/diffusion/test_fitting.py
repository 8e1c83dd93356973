"""On a card with little memory pictures are drawn and encoded in parts, as the same pictures."""

from typing import Any

import pytest
import torch

from nodes.diffusion.families.code import latent_space, live_numbers
from nodes.diffusion.models import memory_fit
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.vae_encoding import encode_pictures
from nodes.diffusion.sampling.sampler import denoise, make_scheduler
from tests.models import fresh_model, make_model_folder

CPU = torch.device("cpu")
SIZE = (32, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    return fresh_model(make_model_folder(tmp_path_factory.mktemp("fitting") / "m", "sdxl"))


def drawn(model: ActiveModel, guidance_scale: float, steps: list[int]) -> torch.Tensor:
    return denoise(
        model,
        ["a", "b", "c", "d", "e"],
        seeds=[1, 2, 3, 4, 5],
        negative_prompt="f",
        num_inference_steps=3,
        guidance_scale=guidance_scale,
        size=SIZE,
        scheduler=make_scheduler(model, "dpm++ 2m"),
        on_step=steps.append,
    )


@pytest.mark.parametrize("guidance_scale", [1, 5])
def test_what_does_not_fit_is_drawn_in_parts(model: ActiveModel, monkeypatch: pytest.MonkeyPatch, guidance_scale: int) -> None:
    steps: list[int] = []
    whole = drawn(model, guidance_scale, steps)
    sizes: list[int] = []
    hook: Any = model.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr("nodes.diffusion.sampling.sampler.denoised_at_once", lambda *args, **options: 2)
    parts = drawn(model, guidance_scale, steps := [])
    hook.remove()
    rows = 2 if guidance_scale != 1 else 1
    assert sizes == [2 * rows] * 6 + [rows] * 3
    assert torch.allclose(whole, parts, atol=1e-4)
    assert steps == sorted(steps)
    assert steps[-1] == 3


def test_the_share_follows_the_free_memory(model: ActiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = live_numbers(model, SIZE)
    assert memory_fit.denoised_at_once(model.unet, numbers, 8, guided=True) == 8, "nobody knows what a CPU has left"
    found: list[tuple[int, int, int]] = []
    for free in (1, 1 << 22, 1 << 40):
        monkeypatch.setattr(memory_fit, "free_memory", lambda device, free=free: free)
        guided, plain = (memory_fit.denoised_at_once(model.unet, numbers, 8, guided=guided) for guided in (True, False))
        found.append((guided, plain, memory_fit.encoded_at_once(latent_space(model), SIZE, 8)))
    assert found[0] == (1, 1, 1)
    assert 1 <= found[1][0] <= found[1][1] <= 8
    assert found[2] == (8, 8, 8)


def test_latents_encoded_in_parts_are_those_of_the_whole(model: ActiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = encode_pictures(latent_space(model), pictures, "abcde")
    monkeypatch.setattr("nodes.diffusion.models.vae_encoding.encoded_at_once", lambda *args: 2)
    parts = encode_pictures(latent_space(model), pictures, "abcde")
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(whole, parts, strict=True))
