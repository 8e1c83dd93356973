"""Denoising diffusion (DDPM, Ho et al. 2020): noise or velocity predicted at whole timesteps."""

from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import PredictionType


class DDPM:
    """The objective of models that predict noise (Ho et al. 2020, eq. 14) or velocity (Salimans and Ho 2022, appendix D)."""

    def __init__(self, noise_scheduler: DDPMScheduler, snr_gamma: float = 0.0) -> None:
        self.snr_gamma = snr_gamma
        """Of min-SNR weighting; 0 leaves it out."""
        self._process: Any = noise_scheduler
        self.prediction_type: PredictionType = self._process.config["prediction_type"]

    @property
    def timesteps(self) -> int:
        """The number of timesteps of the forward process."""
        return len(self._process.alphas_cumprod)

    def levels(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Return `count` uniform timesteps [n], whatever the size."""
        return torch.randint(0, self.timesteps, (count,), generator=generator)

    def fixed_levels(self, count: int) -> Tensor:
        """Return the timesteps [n] in the middle of `count` equal parts."""
        return torch.tensor([(2 * n + 1) * self.timesteps // (2 * count) for n in range(count)])

    def noisy(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return latents [n, c, h, w] with the noise of timesteps [n]."""
        return self._process.add_noise(latents, noise, level)

    def target(self, latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return the noise, or the velocity of timesteps [n]."""
        return noise if self.prediction_type == "epsilon" else self._process.get_velocity(latents, noise, level)

    def weights(self, level: Tensor) -> Tensor | None:
        """Return the loss weights [n] of min-SNR weighting (Hang et al. 2023)."""
        return min_snr_weights(self.signal_to_noise(level), self.snr_gamma, self.prediction_type) if self.snr_gamma else None

    def signal_to_noise(self, timesteps: Tensor) -> Tensor:
        """Return SNR(t) = alpha_t^2 / sigma_t^2 [n] in float32."""
        alphas = self._process.alphas_cumprod.to(timesteps.device)[timesteps].float()
        return alphas / (1 - alphas)


def ddpm_objective(noise_scheduler: DDPMScheduler, *, zero_terminal_snr: bool, snr_gamma: float = 0.0) -> DDPM:
    """Return the objective to train with; the given forward process is left as it is.

    With `zero_terminal_snr` its betas are rescaled so that nothing of the picture is left at the last timestep
    (Lin et al. 2024, algorithm 1). Raises InputError where nothing can be learned there.
    """
    if not zero_terminal_snr:
        return DDPM(noise_scheduler, snr_gamma)
    if needs_signal(noise_scheduler.config["prediction_type"]):
        message = "a model that predicts noise learns nothing where only noise is left."
        raise InputError(message, field="zero_terminal_snr", remedy="Turn it off; it needs a v-prediction model.")
    rescaled: Any = DDPMScheduler.from_config(noise_scheduler.config, rescale_betas_zero_snr=True)
    return DDPM(rescaled, snr_gamma)


def needs_signal(prediction_type: str) -> bool:
    """Return whether a prediction says nothing of the picture at zero SNR, as predicted noise does."""
    return prediction_type == "epsilon"


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Return the loss weights of Hang et al. 2023: min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v.

    At zero SNR the first is 0/0; its limit is 1.
    """
    clipped = snr.clamp(max=gamma)
    if prediction_type == "v_prediction":
        return clipped / (snr + 1)
    return torch.where(snr > 0, clipped / snr.clamp(min=1e-12), torch.ones_like(snr))


def picture_and_noise(prediction: Tensor, noisy: Tensor, alpha: float, prediction_type: PredictionType) -> tuple[Tensor, Tensor]:
    """Return the picture and the noise that a prediction means at the cumulative alpha `alpha`.

    Velocity is v = sqrt(a) noise - sqrt(1 - a) picture (Salimans and Ho 2022), so that both follow from it and the latents.
    """
    signal, spread = alpha**0.5, (1 - alpha) ** 0.5
    if prediction_type == "v_prediction":
        return signal * noisy - spread * prediction, signal * prediction + spread * noisy
    return (noisy - spread * prediction) / signal, prediction
