"""The loss of DreamArtist (Dong et al. 2022): a positive and a negative word trained together under guidance."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nodes.diffusion.families.code import encode_prompts, predict
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.placeholder_tokens import replaced_word
from nodes.diffusion.training.batches import Draw
from nodes.diffusion.training.denoising_task import DenoisingTask, Predict


def with_negative(placeholder_token: str, negative: str) -> Callable[[DenoisingTask, Sequence[Draw]], Conditions]:
    """Return the function that gives the conditions of the captions with the negative word, then of the captions: 2n rows."""

    def conditions_of(task: DenoisingTask, draws: Sequence[Draw]) -> Conditions:
        captions = task.captions_of(draws)
        replaced = [replaced_word(caption, placeholder_token, negative) for caption in captions]
        emphasis = task.texts.emphasis if isinstance(task.texts, CaptionedDataset) else "none"
        return encode_prompts(task.model, [*replaced, *captions], emphasis=emphasis)

    return conditions_of


def guided(guidance_scale: float) -> Predict:
    """Return the prediction of guidance, negative + w * (positive - negative) (Ho and Salimans 2022, eq. 6).

    Its conditions have 2n rows for n samples, the negative half first.
    """

    def guided_predict(
        model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes]
    ) -> Tensor:
        twice = torch.cat([noisy_latents, noisy_latents]), torch.cat([level, level])
        negative, positive = predict(model, *twice, conditions, [*sizes, *sizes]).chunk(2)
        return negative + guidance_scale * (positive - negative)

    return guided_predict
