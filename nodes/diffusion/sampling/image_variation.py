"""Pictures from a CLIP image embedding, by the bases that are conditioned on one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nodes.diffusion.families.image_variation.model import ImageVariation, with_unconditional
from nodes.diffusion.randomness import generator_for
from nodes.diffusion.sampling.sampler import decode, denoise_from


def sample_variations(
    base: ImageVariation,
    image_embeds: Tensor,
    *,
    seeds: Sequence[int],
    scheduler: Any,
    noise_level: int = 0,
    num_inference_steps: int = 20,
    guidance_scale: float = 3.0,
    on_step: Callable[[int], object] = lambda step: None,
) -> list[Image.Image]:
    """Draw one picture per seed from the same embeddings [k, d]."""
    model = base.model
    embeds = image_embeds.to(model.device).expand(len(seeds), -1, -1)
    noise = None
    if noise_level:
        draws = [torch.randn(embeds.shape[-1], generator=generator_for(seed, "image embedding")) for seed in seeds]
        noise = torch.stack(draws).to(model.device)
    with torch.no_grad():
        conditions = base.conditions(embeds, noise_level=noise_level, noise=noise)
    latents = denoise_from(
        model,
        with_unconditional(conditions) if guidance_scale != 1 else conditions,
        seeds=seeds,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        size=(model.info.resolution, model.info.resolution),
        scheduler=scheduler,
        on_step=on_step,
    )
    return decode(model, latents)
