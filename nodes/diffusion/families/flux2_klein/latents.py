"""Latents of FLUX.2: patches of 2 x 2 of an autoencoder's, normalised by statistics that its VAE holds."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from nodes.diffusion.errors import InputError

PATCH = 2
"""Latent pixels of the autoencoder in the side of one of the denoiser's."""


class PatchedLatents:
    """128 channels at a sixteenth of the picture's side; mean and variance are buffers of the VAE."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        config = vae.config
        self.channels: int = config["latent_channels"] * PATCH**2
        self.factor: int = PATCH * 2 ** (len(config["block_out_channels"]) - 1)
        self.feature_maps: int = config["block_out_channels"][0]

    def moments(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        if height % self.factor or width % self.factor:
            message = f"pictures of {width} x {height} pixels cannot be split into squares of {self.factor} pixels."
            raise InputError(message, field="images", remedy=f"Set LoadImages' sizes to multiples of {self.factor}.")
        mean, logvar = self.vae.encode(pictures).latent_dist.parameters.chunk(2, dim=1)
        return torch.cat([pixel_unshuffle(mean, PATCH), pixel_unshuffle(logvar, PATCH)], dim=1)

    def normalised(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        center, deviation = self._statistics(mean)
        return (mean.float() - center) / deviation, std.float() / deviation

    def restored(self, latents: Tensor) -> Tensor:
        center, deviation = self._statistics(latents)
        return latents * deviation + center

    def decoded(self, latents: Tensor) -> Tensor:
        return self.vae.decode(pixel_shuffle(latents, PATCH).to(self.vae.dtype)).sample

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation [1, c, 1, 1] of the patches."""
        normalisation = self.vae.bn
        center, variance = (
            each.float().to(like.device).reshape(1, -1, 1, 1) for each in (normalisation.running_mean, normalisation.running_var)
        )
        return center, (variance + self.vae.config["batch_norm_eps"]).sqrt()
