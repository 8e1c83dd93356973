"""The denoising loss against a plain computation, and its weights against their definitions."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.ddpm import DDPM, ddpm_objective, min_snr_weights
from nodes.diffusion.training.denoising_loss import denoising_loss
from tests.models import WIDTH, make_model_folder

BATCH = 3


def batch(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents, noise = (torch.randn(BATCH, 4, 8, 8, generator=generator) for _ in range(2))
    return latents, noise, torch.tensor([10, 500, 999]), torch.randn(BATCH, 7, WIDTH, generator=generator)


def added() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    return {
        "text_embeds": torch.randn(BATCH, WIDTH, generator=generator),
        "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * BATCH),
    }


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("gamma", [0.0, 5.0])
def test_the_loss_equals_a_plain_computation(tmp_path: Path, family, gamma: float) -> None:
    folder = make_model_folder(tmp_path / family, family)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    latents, noise, timesteps, text = batch()
    extra = added() if family == "sdxl" else None
    objective = DDPM(scheduler, gamma)
    ours = denoising_loss(
        lambda noisy, level: unet(noisy, level, text, added_cond_kwargs=extra).sample,
        objective,
        latents,
        noise,
        timesteps,
        weights=objective.weights(timesteps),
    )

    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)[timesteps]
    a, s = alphas.sqrt().reshape(-1, 1, 1, 1).float(), (1 - alphas).sqrt().reshape(-1, 1, 1, 1).float()
    predicted = unet(a * latents + s * noise, timesteps, text, added_cond_kwargs=extra).sample
    target = a * noise - s * latents if family == "sd2" else noise
    per_sample = ((predicted - target) ** 2).mean(dim=(1, 2, 3))
    if gamma:
        snr = (alphas / (1 - alphas)).float()
        per_sample = per_sample * snr.clamp(max=gamma) / (snr + 1 if family == "sd2" else snr)
    assert ours.item() == pytest.approx(per_sample.mean().item(), rel=1e-5)


def test_signal_to_noise_falls_from_high_to_low() -> None:
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    snr = DDPM(scheduler).signal_to_noise(torch.arange(1000))
    assert (snr.diff() < 0).all()
    assert float(snr[999]) == pytest.approx(float(scheduler.alphas_cumprod[999] / (1 - scheduler.alphas_cumprod[999])), rel=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_weights_are_finite_where_no_signal_is_left(kind: str) -> None:
    weights = min_snr_weights(torch.tensor([0.0, 1e-9, 1.0, 5.0, 100.0]), 5.0, kind)
    assert weights.isfinite().all()
    expected = [1, 1, 1, 1, 0.05] if kind == "epsilon" else [0, 1e-9, 0.5, 5 / 6, 5 / 101]
    assert weights.tolist() == pytest.approx(expected, abs=1e-6)


def test_zero_terminal_snr_leaves_nothing_and_changes_nobody() -> None:
    before = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction")
    kept = before.alphas_cumprod.clone()
    rescaled = ddpm_objective(before, zero_terminal_snr=True)
    assert float(rescaled.signal_to_noise(torch.tensor([999]))) < 1e-6
    assert torch.equal(before.alphas_cumprod, kept)
    reference = DDPM(DDIMScheduler.from_config(before.config, rescale_betas_zero_snr=True))
    every = torch.arange(1000)
    assert torch.allclose(rescaled.signal_to_noise(every), reference.signal_to_noise(every), atol=1e-4)
    plain = ddpm_objective(before, zero_terminal_snr=False)
    assert torch.equal(plain.signal_to_noise(every), kept / (1 - kept))


def test_zero_terminal_snr_is_refused_for_models_that_predict_noise() -> None:
    with pytest.raises(InputError) as caught:
        ddpm_objective(DDPMScheduler(prediction_type="epsilon"), zero_terminal_snr=True)
    assert caught.value.field == "zero_terminal_snr"
    assert caught.value.remedy
