"""FLUX.2 klein's own computations: tokens with four coordinates, three layers of a language model, no mask over its padding."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.families.checkpointing import checkpointed
from nodes.diffusion.families.flow import Flow, shift_in
from nodes.diffusion.families.flow_scheduler import FlowScheduler
from nodes.diffusion.families.flux2_klein.facts import KLEIN_4B, TEXT_LAYERS
from nodes.diffusion.families.flux2_klein.latents import PatchedLatents
from nodes.diffusion.families.language_model import padded_states, token_ids
from nodes.diffusion.families.schedulers import Sampler
from nodes.diffusion.families.sizes import ShownSizes
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.latent_space import LatentSpace
from nodes.diffusion.text.conditions import Conditions, stacked
from nodes.diffusion.text.prompt_syntax import Emphasis

TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
"""Qwen3's chat of one turn, with no thoughts."""
MAX_TOKENS = KLEIN_4B.max_text_tokens
TRAINED_STEPS = 50
"""Steps of the base model's sampling, whose shift training takes."""
LIVE_ROWS = 24
"""Rows of the transformer's width that it holds of one token at its fullest."""


def encode_prompts(model: ActiveModel, prompts: Sequence[str], *, emphasis: Emphasis) -> Conditions:
    """Return `hidden` [n, 512, 3 d]: states behind a quarter, half and three quarters of the language model's layers.

    They lie side by side. Texts are filled to 512 tokens, whose states the denoiser sees too. Brackets are letters here.
    """
    encoder: Any = model.text_encoders[0]
    tokenizer = model.tokenizers[0]
    layers = [encoder.config.num_hidden_layers * number // (TEXT_LAYERS + 1) for number in range(1, TEXT_LAYERS + 1)]
    found = {
        prompt: padded_states(encoder, tokenizer, TEMPLATE.format(prompt), layers=layers, tokens=MAX_TOKENS)
        for prompt in dict.fromkeys(prompts)
    }
    return stacked([{"hidden": found[prompt]} for prompt in prompts])


def cut_prompts(model: ActiveModel, prompts: Sequence[str], emphasis: Emphasis) -> dict[str, int]:
    """Return the prompts that are too long, and how many tokens of each are cut."""
    cut = {prompt: token_ids(model.tokenizers[0], TEMPLATE.format(prompt), MAX_TOKENS)[1] for prompt in prompts}
    return {prompt: tokens for prompt, tokens in cut.items() if tokens}


def predict(
    model: ActiveModel, noisy_latents: Tensor, level: Tensor, conditions: Conditions, sizes: Sequence[ShownSizes]
) -> Tensor:
    """Return the velocity [n, c, h, w] of latents with noise of levels [n], or of one for all."""
    transformer, device = model.denoiser, noisy_latents.device
    dtype = next(transformer.parameters()).dtype
    count, _, height, width = noisy_latents.shape
    text = conditions["hidden"].to(dtype)
    predicted = transformer(
        noisy_latents.to(dtype).flatten(2).transpose(1, 2),
        encoder_hidden_states=text,
        timestep=level.to(device).float().expand(count),
        img_ids=_places(height, width, 1, device),
        txt_ids=_places(1, 1, text.shape[1], device),
        guidance=None,
        return_dict=False,
    )[0]
    return predicted.transpose(1, 2).unflatten(2, (height, width))


def _places(rows: int, columns: int, words: int, device: torch.device) -> Tensor:
    """Return the coordinates [tokens, 4] of tokens: time, row, column, place in the text."""
    return torch.cartesian_prod(*(torch.arange(count, device=device) for count in (1, rows, columns, words)))


def shift_factor(config: Mapping[str, Any], tokens: int, steps: int) -> float:
    """Return how far levels move toward noise for a picture of so many tokens, in so many steps.

    FLUX.2's mu is a line through two that were measured, at 10 and at 200 steps, each linear in the tokens; beyond 4300 tokens
    it is the latter alone.
    """
    if not config.get("use_dynamic_shifting"):
        return shift_in(config).constant
    few, many = 8.73809524e-05 * tokens + 1.89833333, 0.00016927 * tokens + 0.45666666
    mu = many if tokens > 4300 else many + (steps - 200) * (many - few) / 190
    return math.exp(mu)


def objective(model: ActiveModel, settings: DenoisingSettings) -> Flow:
    """Return what the model is trained to predict, and at which noise levels."""
    config = model.scheduler_config
    return Flow(lambda tokens: shift_factor(config, tokens, TRAINED_STEPS), 1, settings)


def scheduler(model: ActiveModel, sampler: Sampler, size: tuple[int, int]) -> FlowScheduler:
    """Return the steps of the model's own noise levels for pictures of `size` (w, h) pixels."""
    config, tokens = model.scheduler_config, _tokens(model, size)
    return FlowScheduler(lambda steps: shift_factor(config, tokens, steps), sampler)


def latent_space(vae: Any) -> LatentSpace:
    """Return the VAE's latents as the denoiser takes them."""
    return PatchedLatents(vae)


def live_numbers(model: ActiveModel, size: tuple[int, int]) -> int:
    """Return how many numbers the transformer holds at its fullest for one picture of `size` (w, h) pixels."""
    config = model.denoiser.config
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return LIVE_ROWS * width * (_tokens(model, size) + MAX_TOKENS)


def _tokens(model: ActiveModel, size: tuple[int, int]) -> int:
    side = PatchedLatents(model.vae).factor
    return (size[0] // side) * (size[1] // side)


def for_training(model: ActiveModel, *, gradient_checkpointing: bool) -> AbstractContextManager[None]:
    """Checkpoint activations, if wanted; undo it afterwards."""
    return checkpointed(model.denoiser, gradient_checkpointing)
