"""Z-Image's own computations: lists of pictures and captions, times that run backwards, and a negated output."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.checkpointing import checkpointed
from nodes.diffusion.families.flow import Flow, shift_in
from nodes.diffusion.families.flow_scheduler import FlowScheduler
from nodes.diffusion.families.language_model import hidden_states, token_ids
from nodes.diffusion.families.schedulers import Sampler
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.families.z_image.facts import Z_IMAGE
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.latent_space import LatentSpace, ScaledLatents
from nodes.diffusion.text.conditions import Conditions, stacked
from nodes.diffusion.text.prompt_syntax import Emphasis

TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
"""Qwen3's chat of one turn, with room for thoughts."""
LAYER = -2
PATCH = 2
"""Latent pixels in the side of a token."""
LIVE_ROWS = 16
"""Rows of the transformer's width that it holds of one token at its fullest."""


def encode_prompts(model: ActiveModel, prompts: Sequence[str], *, emphasis: Emphasis) -> Conditions:
    """Return `hidden` [n, tokens, d]: states of the language model's last layer but one; brackets are letters here."""
    encoder, tokenizer = model.text_encoders[0], model.tokenizers[0]
    wanted = list(dict.fromkeys(prompts))
    texts = [TEMPLATE.format(prompt) for prompt in wanted]
    states = hidden_states(encoder, tokenizer, texts, layer=LAYER, max_tokens=Z_IMAGE.max_text_tokens)
    found = dict(zip(wanted, states, strict=True))
    return stacked([{"hidden": found[prompt]} for prompt in prompts])


def cut_prompts(model: ActiveModel, prompts: Sequence[str], emphasis: Emphasis) -> dict[str, int]:
    """Return the prompts that are too long, and how many tokens of each are cut."""
    limit, tokenizer = Z_IMAGE.max_text_tokens, model.tokenizers[0]
    cut = {prompt: token_ids(tokenizer, TEMPLATE.format(prompt), limit)[1] for prompt in prompts}
    return {prompt: tokens for prompt, tokens in cut.items() if tokens}


def predict(
    model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes]
) -> Tensor:
    """Return the velocity [n, c, h, w] of latents with noise of levels [n], or of one for all.

    The transformer counts time from noise to picture, and predicts picture - noise.
    """
    height, width = noisy_latents.shape[2:]
    if height % PATCH or width % PATCH:
        message = f"pictures of {width} x {height} latents cannot be split into patches of {PATCH} x {PATCH}."
        raise InputError(message, field="width", remedy="Choose sides that are multiples of 16 pixels.")
    transformer = model.denoiser
    dtype = next(transformer.parameters()).dtype
    pictures = list(noisy_latents.to(dtype).unsqueeze(2))
    texts = [conditions.row(number)["hidden"].to(dtype) for number in range(len(conditions))]
    time = (1 - level.to(noisy_latents.device).float()).expand(len(pictures))
    return -torch.stack(transformer(pictures, time, texts, return_dict=False)[0]).squeeze(2)


def objective(model: ActiveModel, settings: DenoisingSettings) -> Flow:
    """Return what the model is trained to predict, and at which noise levels."""
    return Flow(shift_in(model.scheduler_config).of, PATCH, settings)


def scheduler(model: ActiveModel, sampler: Sampler, size: tuple[int, int]) -> FlowScheduler:
    """Return the steps of the model's own noise levels for pictures of `size` (w, h) pixels."""
    factor = shift_in(model.scheduler_config).of(_tokens(model, size))
    return FlowScheduler(lambda steps: factor, sampler)


def latent_space(vae: Any) -> LatentSpace:
    """Return the VAE's latents, scaled."""
    return ScaledLatents(vae)


def live_numbers(model: ActiveModel, size: tuple[int, int]) -> int:
    """Return how many numbers the transformer holds at its fullest for one picture of `size` (w, h) pixels."""
    tokens = _tokens(model, size) + Z_IMAGE.max_text_tokens
    return LIVE_ROWS * model.denoiser.config["dim"] * tokens


def _tokens(model: ActiveModel, size: tuple[int, int]) -> int:
    side = PATCH * ScaledLatents(model.vae).factor
    return (size[0] // side) * (size[1] // side)


def for_training(model: ActiveModel, *, gradient_checkpointing: bool) -> AbstractContextManager[None]:
    """Checkpoint activations, if wanted; undo it afterwards."""
    return checkpointed(model.denoiser, gradient_checkpointing)
