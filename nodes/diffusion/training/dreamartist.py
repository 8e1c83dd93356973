"""The loss of DreamArtist (Dong et al. 2022): a positive and a negative word trained together under guidance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.text.encoding import TextEmbeddings, encode_prompts
from nodes.diffusion.text.placeholder_tokens import replaced_word
from nodes.diffusion.training.batches import Draw
from nodes.diffusion.training.denoising_task import DenoisingTask, added_conditions, valid_mask
from nodes.diffusion.training.objectives import denoising_loss


@dataclass
class GuidedTask(DenoisingTask):
    """The denoising loss of guided predictions: captions on one side, the same with the negative word on the other."""

    placeholder_token: str = field(kw_only=True)
    negative: str = field(kw_only=True)
    guidance_scale: float = field(kw_only=True)

    def _loss(self, draws: Sequence[Draw], latents: Tensor, noise: Tensor, timesteps: Tensor, snr_gamma: float) -> Tensor:
        device = self.model.device
        text = self._both(draws)
        return denoising_loss(
            GuidedUNet(self.model.unet, self.guidance_scale),
            self.noise_scheduler,
            latents.to(device),
            noise.to(device),
            timesteps.to(device),
            text.hidden,
            added=added_conditions(text, [*draws, *draws], device),
            snr_gamma=snr_gamma,
            mask=valid_mask(draws, latents.to(device)),
        )

    def _both(self, draws: Sequence[Draw]) -> TextEmbeddings:
        """Return the conditioning of the negative captions, then of the positive ones, 2n in all."""
        captions = self._written(draws)
        negative = [replaced_word(caption, self.placeholder_token, self.negative) for caption in captions]
        emphasis = self.texts.emphasis if isinstance(self.texts, CaptionedDataset) else "none"
        return encode_prompts(self.model, [*negative, *captions], emphasis=emphasis)


class GuidedUNet(nn.Module):
    """A UNet that predicts as guidance does: negative + w * (positive - negative) (Ho and Salimans 2022, eq. 6)."""

    def __init__(self, unet: nn.Module, guidance_scale: float) -> None:
        super().__init__()
        self.unet, self.guidance_scale = unet, guidance_scale

    def forward(
        self,
        noisy_latents: Tensor,
        timesteps: Tensor,
        *,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None,
        added_cond_kwargs: Mapping[str, Tensor] | None,
        return_dict: bool,
    ) -> tuple[Any]:
        """Return the guided prediction [n, c, h, w] for conditions [2n, tokens, d], the negative half first."""
        both = self.unet(
            torch.cat([noisy_latents, noisy_latents]),
            torch.cat([timesteps, timesteps]),
            encoder_hidden_states=encoder_hidden_states,
            class_labels=class_labels,
            added_cond_kwargs=added_cond_kwargs,
            return_dict=return_dict,
        )[0]
        negative, positive = both.chunk(2)
        return (negative + self.guidance_scale * (positive - negative),)
