"""Sampling from an inversion: its replay, and Prompt-to-Prompt edits."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.results import Inversion, NullTextInversion
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.sampling.ddim import ddim_schedule, unconditional_text
from nodes.diffusion.sampling.null_text import Edit, replay
from nodes.diffusion.sampling.sampler import decode
from nodes.diffusion.sampling.saved_inversions import read_noise, read_uncond
from nodes.diffusion.text.encoding import chunked, encode_prompts
from nodes.diffusion.text.token_alignment import align_tokens


@torch.no_grad()
def replay_and_edit(
    model: ActiveModel,
    inversion: Inversion,
    prompts: Sequence[str] = (),
    *,
    guidance_scale: float,
    cross_replace_steps: float = 0.8,
    self_replace_steps: float = 0.5,
    on_step: Callable[[int], object] = lambda step: None,
) -> list[Image.Image]:
    """Return the replay of an inverted picture, followed by an edit for each prompt; `on_step` counts all of their steps."""
    schedule = ddim_schedule(model, inversion.num_inference_steps)
    text = encode_prompts(model, [inversion.prompt])
    unconditional = unconditional_text(model)
    if isinstance(inversion, NullTextInversion):
        unconditional = unconditional.replaced(hidden=read_uncond(inversion).to(model.device))
    if unconditional["hidden"].shape[1] != text["hidden"].shape[1]:
        message = (
            f"the inversion is of texts of {unconditional['hidden'].shape[1]} tokens, the model's have {text['hidden'].shape[1]}."
        )
        remedy = "Give LoadModel the max_token_length that the inversion was made with."
        raise InputError(message, field="inversion", remedy=remedy)
    edits: list[Edit | None] = [None]
    for prompt in prompts:
        edited = encode_prompts(model, [prompt])
        alignment = _alignment(model, inversion.prompt, prompt)
        edits.append(Edit(edited, alignment, cross_replace_steps, self_replace_steps))
    pictures: list[Image.Image] = []
    for number, edit in enumerate(edits):
        latents = replay(
            model,
            schedule,
            read_noise(inversion),
            text,
            unconditional,
            guidance_scale=guidance_scale,
            edit=edit,
            on_step=lambda step, done=number * inversion.num_inference_steps: on_step(done + step),
        )
        pictures += decode(model, latents)
    return pictures


def _alignment(model: ActiveModel, source: str, target: str) -> torch.Tensor:
    """Return the alignment of two prompts' tokens by the first tokenizer, since all cut words alike."""
    tokenizer = model.tokenizers[0]
    source_chunks, target_chunks = (chunked(model, prompt, tokenizer) for prompt in (source, target))
    return align_tokens(source_chunks, target_chunks, tokenizer.model_max_length)
