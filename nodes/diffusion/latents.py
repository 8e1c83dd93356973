"""Pictures to latent distributions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.loading import StableDiffusion


def encode_pictures(model: StableDiffusion, pictures: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [n, c, h, w] of the VAE's posterior, scaled, in float32, for pictures [n, 3, H, W] in -1..1.

    Both are kept so that a training can sample (Kingma and Welling 2014, eq. 10). Raises InputError naming a picture
    whose latents are not finite, as happens with SDXL's VAE in fp16.
    """
    with torch.no_grad():
        vae: Any = model.vae
        # CPUs convolve a lone picture by another algorithm, with other last bits: it goes in twice
        shown = pictures if len(pictures) > 1 else pictures.repeat(2, 1, 1, 1)
        posterior = vae.encode(shown.to(model.device, model.dtype)).latent_dist
    shift, scale = vae.config.get("shift_factor") or 0.0, vae.config["scaling_factor"]
    mean, std = (tensor[: len(pictures)].float() for tensor in (posterior.mean, posterior.std))
    mean, std = (mean - shift) * scale, std * scale
    finite = (mean.isfinite() & std.isfinite()).flatten(1).all(dim=1)
    if not finite.all():
        name = names[int((~finite).nonzero()[0])]
        raise InputError(f"the latents of {name} are not finite.", field="precision", remedy="Choose fp32 or bf16.")
    return mean.cpu(), std.cpu()
