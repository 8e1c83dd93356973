"""Extra input channels of UNets for inpainting and editing, filled as if there were no picture yet.

For inpainting (Rombach et al. 2022, 4.5) the mask is 1 everywhere and the masked picture is grey. For InstructPix2Pix (Brooks
et al. 2023, 3.2) the picture to edit is zeros, as in the unconditional half of its guidance.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nodes.diffusion.models.latent_space import ScaledLatents
from nodes.diffusion.models.vae_encoding import encode_pictures, without_overflow


def fill_channels(unet: UNet2DConditionModel, purpose: str, vae: Callable[[], nn.Module]) -> RemovableHandle | None:
    """Let a UNet be called with the noisy latents [n, c, h, w] alone: the channels behind them are added on the way in.

    Returns what ends it, None where there is nothing to add. Inputs that have all channels already are left as they are.
    """
    channels: int = unet.config["in_channels"]
    if purpose == "inpainting":
        hidden = _HiddenPicture(vae)
        return unet.register_forward_pre_hook(lambda _, inputs: _beside(inputs, hidden.channels, channels))
    if purpose == "instruct-pix2pix":
        return unet.register_forward_pre_hook(lambda _, inputs: _beside(inputs, torch.zeros_like, channels))
    return None


def _beside(inputs: tuple[Any, ...], make: Callable[[Tensor], Tensor], channels: int) -> tuple[Any, ...]:
    noisy_latents, *others = inputs
    if noisy_latents.shape[1] == channels:
        return inputs
    return torch.cat([noisy_latents, make(noisy_latents)], dim=1), *others


class _HiddenPicture:
    """The mask and the masked latents of a picture that is masked as a whole."""

    def __init__(self, vae: Callable[[], nn.Module]) -> None:
        self._vae = vae
        self._weights: list[nn.Parameter] = []
        """Weights that the latents were computed with; an adapter may replace them during a use."""
        self._latents: dict[tuple[int, int], Tensor] = {}

    def channels(self, noisy_latents: Tensor) -> Tensor:
        """Return 1 [n, 1, h, w] and the latents of grey [n, c, h, w], as the second and third of an inpainting UNet's inputs."""
        grey = self._grey(noisy_latents.shape[2], noisy_latents.shape[3]).to(noisy_latents)
        mask = torch.ones_like(noisy_latents[:, :1])
        return torch.cat([mask, grey.expand(len(noisy_latents), -1, -1, -1)], dim=1)

    def _grey(self, height: int, width: int) -> Tensor:
        """Return the scaled mean of the VAE's posterior for a grey picture, computed once for each size."""
        vae: Any = self._vae()
        weights = list(vae.parameters())
        if len(weights) != len(self._weights) or any(one is not other for one, other in zip(weights, self._weights, strict=True)):
            self._weights, self._latents = weights, {}
        if (height, width) not in self._latents:
            space = ScaledLatents(vae)
            picture = torch.zeros(1, 3, space.factor * height, space.factor * width)
            # the same numbers in training and in sampling
            with without_overflow(vae):
                mean, _ = encode_pictures(space, picture, ["a grey picture"])
            self._latents[height, width] = mean.to(vae.device)
        return self._latents[height, width]
