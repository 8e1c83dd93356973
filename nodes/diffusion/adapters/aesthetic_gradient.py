"""Aesthetic gradients (Gallego 2022): before a prompt is encoded, a copy of the text encoder is tuned to an aesthetic."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nodes.diffusion.adapters.changed_weights import replaced
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import AestheticGradient
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.optimization.loop import minimize
from nodes.diffusion.text.encoding import at_end_of_text, chunked, conditioning, framed, with_emphasis
from nodes.diffusion.text.placeholder_tokens import extended_token_table
from nodes.diffusion.text.prompt_syntax import Emphasis


@dataclass
class Aesthetic:
    """The aesthetic that prompts are tuned to now."""

    gradient: AestheticGradient
    direction: Tensor
    """The aesthetic embedding [d], of length 1."""
    projection: Tensor | None
    """[d, width]; None when the text encoder has its own."""
    cosines: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """By prompt encoded so far, its cosine to the aesthetic before and after tuning."""


@contextmanager
def aesthetic_followed(gradient: AestheticGradient, model: ActiveModel) -> Generator[dict[str, nn.Parameter]]:
    """Let sampling tune its positive prompts inside the `with` block; yield no trainable tensors."""
    if model.aesthetic is not None:
        raise InputError("this model has two aesthetic gradients.", field="model", remedy="Give it one.")
    tensors = {name: tensor.to(model.device) for name, tensor in load_file(gradient.weights).items()}
    direction = nn.functional.normalize(tensors["aesthetic_embedding"][0], dim=0)
    model.aesthetic = Aesthetic(gradient, direction, tensors.get("text_projection"))
    try:
        yield {}
    finally:
        model.aesthetic = None


def tuned_hidden(
    model: ActiveModel,
    aesthetic: Aesthetic,
    prompts: Sequence[str],
    hidden: Tensor,
    stop_if_asked: Callable[[], object],
    emphasis: Emphasis = "none",
) -> Tensor:
    """Return the tuned conditioning [n, tokens, d] of prompts, `hidden` being untuned; each distinct prompt is tuned once.

    Every prompt starts from the untuned encoder, so that it is independent of the others.
    """
    tuned = {prompt: _tuned(model, aesthetic, prompt, emphasis, stop_if_asked) for prompt in dict.fromkeys(prompts)}
    together = torch.cat([tuned[prompt] for prompt in prompts]).to(hidden.dtype)
    return torch.lerp(hidden, together, aesthetic.gradient.blend)


def _tuned(
    model: ActiveModel,
    aesthetic: Aesthetic,
    prompt: str,
    emphasis: Emphasis,
    stop_if_asked: Callable[[], object],
) -> Tensor:
    """Return the conditioning [1, tokens, d] of one prompt by a copy of the text encoder, float32, tuned with Adam."""
    encoder, losses = model.text_encoders[0], list[float]()
    with replaced(encoder, _copies(encoder)), torch.enable_grad():
        minimize(
            {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad},
            lambda step, micro_step: 1 - _encoded(model, aesthetic, prompt, emphasis)[1],
            TrainingSettings(
                max_steps=aesthetic.gradient.steps,
                learning_rate=aesthetic.gradient.learning_rate,
                weight_decay=0,
                max_grad_norm=0,
            ),
            device=model.device,
            report=lambda done: (losses.append(done.loss), stop_if_asked()),
        )
        with torch.no_grad():
            hidden, cosine = _encoded(model, aesthetic, prompt, emphasis)
    aesthetic.cosines[prompt] = (1 - losses[0], float(cosine))
    return hidden


def _copies(encoder: nn.Module) -> dict[str, nn.Parameter]:
    """Return all weights in float32, as half precision would lose small steps; those of LoRAs and the projection stay fixed."""
    return {
        name: nn.Parameter(
            parameter.detach().to(torch.float32, copy=True),
            requires_grad="lora_" not in name and not name.startswith("text_projection"),
        )
        for name, parameter in encoder.named_parameters()
    }


def _encoded(model: ActiveModel, aesthetic: Aesthetic, prompt: str, emphasis: Emphasis) -> tuple[Tensor, Tensor]:
    """Return a prompt's conditioning [1, tokens, d], and the cosine of its first chunk's text embedding to the aesthetic."""
    tokenizer, encoder = model.tokenizers[0], model.text_encoders[0]
    chunks = chunked(model, prompt, tokenizer, emphasis)
    tokens = torch.tensor(framed(chunks, tokenizer), device=model.device)
    words = [vectors[0].detach() for vectors in model.placeholders.values()]
    with extended_token_table(encoder, words, len(tokenizer)):
        output = encoder(tokens, output_hidden_states=True)
    state = at_end_of_text(output.last_hidden_state, tokens, tokenizer)[0]
    weight = encoder.get_parameter("text_projection.weight") if aesthetic.projection is None else aesthetic.projection
    cosine = nn.functional.cosine_similarity(weight @ state, aesthetic.direction, dim=0)
    states = conditioning(model, output, 0)[None]
    return with_emphasis(model, states, [chunks], 0, emphasis).flatten(1, 2), cosine
