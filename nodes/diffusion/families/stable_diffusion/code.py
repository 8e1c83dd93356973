"""Stable Diffusion's own computations: a UNet under cross-attention, trained by denoising diffusion."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from nodes.diffusion.devices import eager_attention_pays
from nodes.diffusion.families.ddpm import DDPM, ddpm_objective
from nodes.diffusion.families.schedulers import Sampler, Scheduler, ddpm_scheduler
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.latent_space import LatentSpace, ScaledLatents
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.encoding import cut_prompts as cut_prompts, encode_prompts as encode_prompts

LIVE_MAPS = 32
"""Feature maps of its first level that a UNet holds of one sample at its fullest, skip connections included."""


def predict(
    model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes]
) -> Tensor:
    """Return the UNet's prediction [n, c, h, w] for noisy latents at timesteps [n], or one for all.

    SDXL is also given the pooled text, and each sample's original size, crop and target size (Podell et al. 2023, 2.2).
    """
    unet: Any = model.unet
    dtype = next(unet.parameters()).dtype
    added = None
    if (pooled := conditions.get("pooled")) is not None:
        rows = [[*shown.original_size[::-1], *shown.crop[::-1], *shown.size[::-1]] for shown in sizes]
        added = {"text_embeds": pooled.to(dtype), "time_ids": torch.tensor(rows, device=pooled.device, dtype=torch.float32)}
    return unet(
        noisy_latents.to(dtype),
        level,
        encoder_hidden_states=conditions["hidden"].to(dtype),
        class_labels=conditions.get("class_labels"),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]


def objective(model: ActiveModel, settings: DenoisingSettings) -> DDPM:
    """Return what the model is trained to predict."""
    zero_terminal_snr, snr_gamma = settings.zero_terminal_snr, settings.snr_gamma
    return ddpm_objective(model.noise_scheduler, zero_terminal_snr=zero_terminal_snr, snr_gamma=snr_gamma)


@contextmanager
def for_training(model: ActiveModel, *, gradient_checkpointing: bool) -> Generator[None]:
    """Choose the attention that trains fastest and, if wanted, checkpoint activations; undo both afterwards."""
    unet: Any = model.unet
    before = unet.attn_processors
    try:
        if eager_attention_pays(model.device):
            unet.set_attn_processor(AttnProcessor())
        if gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        yield
    finally:
        unet.set_attn_processor(before)
        if gradient_checkpointing:
            unet.disable_gradient_checkpointing()


def scheduler(model: ActiveModel, sampler: Sampler, size: tuple[int, int]) -> Scheduler:
    """Return a fresh diffusers scheduler; Stable Diffusion's noise levels are the same for every size."""
    return ddpm_scheduler(model.scheduler_config, sampler, zero_terminal_snr=model.handle.zero_terminal_snr)


def latent_space(vae: Any) -> LatentSpace:
    """Return the VAE's latents, scaled."""
    return ScaledLatents(vae)


def live_numbers(model: ActiveModel, size: tuple[int, int]) -> int:
    """Return how many numbers the UNet holds at its fullest for one picture of `size` (w, h) pixels."""
    unet, factor = model.part("unet").config, ScaledLatents(model.vae).factor
    return LIVE_MAPS * unet["block_out_channels"][0] * (size[0] // factor) * (size[1] // factor)
