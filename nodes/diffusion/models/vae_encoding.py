"""Pictures to latent distributions."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from nodes.diffusion.devices import PRECISION_NAMES
from nodes.diffusion.errors import InputError
from nodes.diffusion.models.latent_space import LatentSpace
from nodes.diffusion.models.memory_fit import encoded_at_once
from nodes.diffusion.models.vae_tiling import in_tiles, is_large


def encode_pictures(space: LatentSpace, pictures: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [n, c, h, w] of the VAE's posterior, normalised, in float32, for pictures [n, 3, H, W] in -1..1.

    Both are kept so that a training can sample (Kingma and Welling 2014, eq. 10). Large pictures go through the VAE in
    tiles. Raises InputError naming a picture whose latents are not finite, as happens with SDXL's VAE in fp16.
    """
    with torch.no_grad():
        posterior = DiagonalGaussianDistribution(_moments(space, pictures))
    mean, std = space.normalised(posterior.mean, posterior.std)
    finite = (mean.isfinite() & std.isfinite()).flatten(1).all(dim=1)
    if not finite.all():
        name = names[int((~finite).nonzero()[0])]
        broken = "Give the model another VAE: this one's weights are broken."
        remedy = "Choose fp32 or bf16." if space.vae.dtype == torch.float16 else broken
        raise InputError(
            f"the latents of {name} are not finite in {PRECISION_NAMES[space.vae.dtype]}.", field="precision", remedy=remedy
        )
    return mean.cpu(), std.cpu()


def _moments(space: LatentSpace, pictures: Tensor) -> Tensor:
    """Means and logarithms of variances [n, 2 c, h, w] of the VAE's posterior."""

    def encode(shown: Tensor) -> Tensor:
        return space.moments(shown.to(space.vae.device, space.vae.dtype))

    if is_large(*pictures.shape[2:]):
        return torch.cat([in_tiles(picture[None], encode, space.factor, enlarged=False) for picture in pictures])
    # CPUs convolve a lone picture by another algorithm, with other last bits: it goes in twice
    shown = pictures if len(pictures) > 1 else pictures.repeat(2, 1, 1, 1)
    parts = shown.split(encoded_at_once(space, (shown.shape[2], shown.shape[3]), len(shown)))
    return torch.cat([encode(part) for part in parts])[: len(pictures)]


@contextmanager
def without_overflow(vae: torch.nn.Module) -> Generator[None]:
    """Keep an fp16 VAE in fp32, in which SDXL's does not overflow; the conversion back to fp16 is exact.

    Autocast is off: during the previews of a training it would bring the layers back to half precision.
    """
    first = next(vae.parameters())
    half = first.dtype == torch.float16
    try:
        if half:
            vae.float()
        with torch.autocast(first.device.type, enabled=False):
            yield
    finally:
        if half:
            vae.half()
