"""How many pictures a model computes at once: as many as wanted, and on a GPU no more than its free memory holds."""

from typing import Any

from nodes.diffusion.devices import free_memory
from nodes.diffusion.loading import StableDiffusion

USED_SHARE = 0.8
"""Of the free memory; the rest is for the libraries' workspaces and for what fragments."""
LIVE_MAPS = 32
"""What a UNet holds of one sample at its fullest, its skips among it, in feature maps of its first level."""
LIVE_PLANES = 8
"""What a VAE's encoder holds of one picture at its fullest, in feature maps of its first level."""


def drawn_at_once(model: StableDiffusion, size: tuple[int, int], wanted: int, *, guided: bool) -> int:
    """Return how many pictures of `size` (w, h) pixels the UNet denoises at once; guidance computes each twice."""
    if free_memory(model.device) is None:
        return wanted
    unet: Any = model.unet
    factor = 2 ** (len(model.vae.config["block_out_channels"]) - 1)
    plane = unet.config["block_out_channels"][0] * (size[0] // factor) * (size[1] // factor)
    return _fitting(model, wanted, LIVE_MAPS * plane * (2 if guided else 1))


def encoded_at_once(model: StableDiffusion, size: tuple[int, int], wanted: int) -> int:
    """Return how many pictures of `size` (h, w) pixels the VAE encodes at once."""
    if free_memory(model.device) is None:
        return wanted
    vae: Any = model.vae
    return _fitting(model, wanted, LIVE_PLANES * vae.config["block_out_channels"][0] * size[0] * size[1])


def _fitting(model: StableDiffusion, wanted: int, numbers: int) -> int:
    """Return how many times that many numbers fit into the memory that is left now, once the model's parts lie there."""
    free = free_memory(model.device) or 0
    return max(1, min(wanted, int(USED_SHARE * free) // (numbers * model.dtype.itemsize)))
