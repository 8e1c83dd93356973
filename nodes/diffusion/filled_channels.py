"""What UNets of inpainting and editing models are given beside the noisy latents: that there is no picture yet.

For inpainting (Rombach et al. 2022, 4.5) the mask is 1 everywhere and the picture around it is grey, for InstructPix2Pix
(Brooks et al. 2023, 3.2) the picture to edit is zeros, which is what its guidance leaves it out by.
"""

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nodes.diffusion.loading import StableDiffusion


def fill_channels(unet: nn.Module, model: "StableDiffusion") -> None:
    """Let a UNet be called with the noisy latents [n, c, h, w] alone: the channels behind them are added on the way in."""
    if model.facts.purpose == "inpainting":
        hidden = _HiddenPicture(model)
        unet.register_forward_pre_hook(lambda _, inputs: _beside(inputs, hidden.channels(inputs[0])))
    elif model.facts.purpose == "instruct-pix2pix":
        unet.register_forward_pre_hook(lambda _, inputs: _beside(inputs, torch.zeros_like(inputs[0])))


def _beside(inputs: tuple[Any, ...], channels: Tensor) -> tuple[Any, ...]:
    noisy_latents, *others = inputs
    return torch.cat([noisy_latents, channels], dim=1), *others


class _HiddenPicture:
    """Mask and latents of a picture that is masked as a whole."""

    def __init__(self, model: "StableDiffusion") -> None:
        self._model = weakref.ref(model)  # the model holds the UNet, which holds this: its memory is freed without a search
        self._vae: list[nn.Parameter] = []
        """Weights that the latents were computed with; those of a trained VAE may lie over the model for a while."""
        self._latents: dict[tuple[int, int], Tensor] = {}

    def channels(self, noisy_latents: Tensor) -> Tensor:
        """Return 1 [n, 1, h, w] and the latents of grey [n, c, h, w], as the second and third of an inpainting UNet's inputs."""
        grey = self._grey(noisy_latents.shape[2], noisy_latents.shape[3]).to(noisy_latents)
        mask = torch.ones_like(noisy_latents[:, :1])
        return torch.cat([mask, grey.expand(len(noisy_latents), -1, -1, -1)], dim=1)

    def _grey(self, height: int, width: int) -> Tensor:
        """The mean of the VAE's posterior for a grey picture, scaled, computed once for each size."""
        from nodes.diffusion.latents import encode_pictures, without_overflow  # which imports the module that imports this one

        model = self._model()
        assert model is not None
        vae: Any = model.vae
        weights = list(vae.parameters())
        if len(weights) != len(self._vae) or any(one is not other for one, other in zip(weights, self._vae, strict=True)):
            self._vae, self._latents = weights, {}
        if (height, width) not in self._latents:
            factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
            picture = torch.zeros(1, 3, factor * height, factor * width)
            # the same numbers in training and in drawing
            with without_overflow(vae):
                mean, _ = encode_pictures(model, picture, ["a grey picture"])
            self._latents[height, width] = mean.to(model.device)
        return self._latents[height, width]
