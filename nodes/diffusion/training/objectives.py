"""The denoising loss and its weights."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from nodes.diffusion.errors import InputError


def training_noise_scheduler(noise_scheduler: DDPMScheduler, *, zero_terminal_snr: bool) -> DDPMScheduler:
    """Return the forward process to train with; the given one is left as it is.

    With `zero_terminal_snr` its betas are rescaled so that nothing of the picture is left at the last timestep
    (Lin et al. 2024, algorithm 1).
    """
    if not zero_terminal_snr:
        return noise_scheduler
    if noise_scheduler.config["prediction_type"] == "epsilon":
        remedy = "Turn it off; it needs a v-prediction model."
        raise InputError(
            "a model that predicts noise learns nothing where only noise is left.", field="zero_terminal_snr", remedy=remedy
        )
    rescaled: Any = DDPMScheduler.from_config(noise_scheduler.config, rescale_betas_zero_snr=True)
    return rescaled


def signal_to_noise(noise_scheduler: DDPMScheduler, timesteps: Tensor) -> Tensor:
    """Return SNR(t) = alpha_t^2 / sigma_t^2 [n] in float32."""
    alphas = noise_scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
    return alphas / (1 - alphas)


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Return the loss weights of Hang et al. 2023: min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v.

    At zero SNR the first is 0/0; its limit is 1.
    """
    clipped = snr.clamp(max=gamma)
    if prediction_type == "v_prediction":
        return clipped / (snr + 1)
    return torch.where(snr > 0, clipped / snr.clamp(min=1e-12), torch.ones_like(snr))


def denoising_loss(
    unet: Any,
    noise_scheduler: Any,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    text_embeddings: Tensor,
    *,
    added: Mapping[str, Tensor] | None = None,
    class_labels: Tensor | None = None,
    snr_gamma: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of the predicted noise (Ho et al. 2020, eq. 14) or velocity (Salimans and Ho 2022, D).

    Latents and noise are [n, c, h, w], timesteps [n], text embeddings [n, tokens, d]; `added` is SDXL's conditioning,
    `class_labels` unCLIP's.
    """
    noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
    prediction_type = noise_scheduler.config["prediction_type"]
    target = noise if prediction_type == "epsilon" else noise_scheduler.get_velocity(latents, noise, timesteps)
    dtype = next(unet.parameters()).dtype
    prediction = unet(
        noisy_latents.to(dtype),
        timesteps,
        encoder_hidden_states=text_embeddings.to(dtype),
        class_labels=class_labels,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    error = (prediction.float() - target.float()) ** 2
    if mask is not None:  # each sample's mean over its own valid area
        error = error * mask * (mask[0].numel() / mask.sum(dim=(1, 2, 3), keepdim=True))
    if not snr_gamma:
        return error.mean()
    weights = min_snr_weights(signal_to_noise(noise_scheduler, timesteps), snr_gamma, prediction_type)
    return (error.mean(dim=(1, 2, 3)) * weights).mean()
