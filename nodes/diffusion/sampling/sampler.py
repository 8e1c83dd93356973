"""Drawing pictures: a loop over the steps of a scheduler with classifier-free guidance (Ho and Salimans 2022, eq. 6)."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from nodes.diffusion.adapters.aesthetic_gradient import tuned_hidden
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import encode_prompts, latent_space, live_numbers, make_scheduler, predict
from nodes.diffusion.families.protocol import text_encoders
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.schedulers import RANDOM_STEPS, Sampler, Scheduler
from nodes.diffusion.families.sizes import shown_whole
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.memory_fit import denoised_at_once
from nodes.diffusion.models.vae_encoding import without_overflow
from nodes.diffusion.models.vae_tiling import in_tiles, is_large
from nodes.diffusion.pictures.pictures import as_picture
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.prompt_syntax import Emphasis


def sample(
    model: ActiveModel,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    negative_prompt: str = "",
    num_inference_steps: int = 20,
    guidance_scale: float = 5.0,
    size: tuple[int, int] | None = None,
    sampler: Sampler = "dpm++ 2m",
    emphasis: Emphasis = "none",
    on_step: Callable[[int], object] = lambda step: None,
) -> list[Image.Image]:
    """Draw one picture of `size` (w, h) pixels per prompt and seed.

    A seed's noise is the same in any batch; sums over batches of another size may differ in their last bits.
    `emphasis` says whose weights brackets are. `on_step` is called with the number of steps done and may raise to stop.
    Guidance 1 spares the unconditional pass.
    """
    size = size or (model.info.resolution, model.info.resolution)
    latents = denoise(
        model,
        prompts,
        seeds=seeds,
        negative_prompt=negative_prompt,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        size=size,
        scheduler=make_scheduler(model, sampler, size),
        emphasis=emphasis,
        on_step=on_step,
    )
    return decode(model, latents)


@torch.no_grad()
def denoise(
    model: ActiveModel,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    negative_prompt: str,
    num_inference_steps: int,
    guidance_scale: float,
    size: tuple[int, int],
    scheduler: Scheduler,
    emphasis: Emphasis = "none",
    on_step: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Return the final latents [n, c, h, w] of one sampling."""
    count, guided = len(prompts), guidance_scale != 1
    texts = [*([negative_prompt] * count if guided else []), *prompts]
    text = encode_prompts(model, texts, emphasis=emphasis)
    if model.aesthetic:
        positive = tuned_hidden(model, model.aesthetic, prompts, text["hidden"][-count:], lambda: on_step(0), emphasis)
        text["hidden"][-count:] = positive
    if not text_encoders(facts(model.info.family)):  # a language model is as large as the denoiser, and no adapter is on it
        model.let_go(model.parts.names("text_encoder"))
    if facts(model.info.family).zeros_when_unconditional and guided and not negative_prompt:
        for tensor in text.tensors.values():
            tensor[:count] = 0
    return denoise_from(
        model,
        text,
        seeds=seeds,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        size=size,
        scheduler=scheduler,
        on_step=on_step,
    )


@torch.no_grad()
def denoise_from(
    model: ActiveModel,
    text: Conditions,
    *,
    seeds: Sequence[int],
    num_inference_steps: int,
    guidance_scale: float,
    size: tuple[int, int],
    scheduler: Scheduler,
    on_step: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Return the final latents [n, c, h, w] for n seeds; with guidance, the first n conditions are the unconditional ones.

    What does not fit into a GPU's memory at once is drawn in several parts.
    """
    count, guided = len(seeds), guidance_scale != 1
    share = denoised_at_once(model.denoiser, live_numbers(model, size), count, guided=guided)
    parts = [range(count)[start : start + share] for start in range(0, count, share)]
    return torch.cat(
        [
            _denoise_part(
                model,
                text.of(part, guided=guided) if len(parts) > 1 else text,
                seeds=[seeds[row] for row in part],
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                size=size,
                scheduler=scheduler,
                on_step=lambda step, n=number: on_step((n * num_inference_steps + step) // len(parts)),
            )
            for number, part in enumerate(parts)
        ]
    )


def _denoise_part(
    model: ActiveModel,
    text: Conditions,
    *,
    seeds: Sequence[int],
    num_inference_steps: int,
    guidance_scale: float,
    size: tuple[int, int],
    scheduler: Scheduler,
    on_step: Callable[[int], object],
) -> Tensor:
    guided = guidance_scale != 1
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    scheduler.set_timesteps(num_inference_steps, device=model.device)
    latents = _first_noise(model, size, generators) * scheduler.init_noise_sigma
    options = {"generator": generators} if type(scheduler).__name__ == RANDOM_STEPS else {}
    for number, timestep in enumerate(scheduler.timesteps, 1):
        doubled = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, timestep)
        prediction = predict(model, doubled, timestep, text, [shown_whole(size)] * len(doubled)).float()
        if guided:
            unconditional, conditional = prediction.chunk(2)
            prediction = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(prediction, timestep, latents, **options).prev_sample
        on_step(number)
    return latents


def _first_noise(model: ActiveModel, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
    space = latent_space(model)
    factor = space.factor
    if size[0] % factor or size[1] % factor:
        raise InputError(f"{size[0]} x {size[1]} is not a multiple of {factor} pixels.", field="width", remedy="Round it.")
    shape = (space.channels, size[1] // factor, size[0] // factor)
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(model.device)


@torch.no_grad()
def decode(model: ActiveModel, latents: Tensor) -> list[Image.Image]:
    """Return the pictures of latents [n, c, h, w], large ones in tiles; raise InputError when they are not finite."""
    space = latent_space(model)
    pictures: list[Image.Image] = []
    large = is_large(*(side * space.factor for side in latents.shape[2:]))
    with without_overflow(space.vae):
        for latent in space.restored(latents)[:, None]:
            if not latent.isfinite().all():
                remedy = "Choose fp32 or bf16, or lower guidance_scale; a damaged file and a model trained too far do it too."
                raise InputError("the latents are not finite.", field="precision", remedy=remedy)
            decoded = in_tiles(latent, space.decoded, space.factor, enlarged=True) if large else space.decoded(latent)
            if not decoded.isfinite().all():
                remedy = "Give the model another VAE (BakeVAE): this one's weights are broken."
                raise InputError("the picture that the VAE draws is not finite.", field="model", remedy=remedy)
            pictures.append(as_picture(decoded[0]))
    return pictures
