"""Adapters of every kind laid over a model at once, and taken off again."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager

from torch import nn

from nodes.diffusion.adapters.aesthetic_gradient import aesthetic_followed
from nodes.diffusion.adapters.changed_weights import weights_changed
from nodes.diffusion.adapters.hypernetwork.apply import hypernetwork_laid
from nodes.diffusion.adapters.lora.apply import low_rank
from nodes.diffusion.handles.adapters import (
    Adapter,
    AestheticGradient,
    Hypernetwork,
    LowRankAdapter,
    TokenEmbedding,
    WeightChange,
)
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.placeholder_tokens import with_placeholder


@contextmanager
def applied(adapters: Sequence[Adapter], model: ActiveModel) -> Generator[list[dict[str, nn.Parameter]]]:
    """Lay adapters over a model; yield each one's tensors by name. Afterwards the model holds its own layers again.

    Changed weights come first: what wraps layers then wraps the changed ones, so that only the order within a kind counts.
    """
    laid: dict[int, dict[str, nn.Parameter]] = {}
    numbered = list(enumerate(adapters))
    with ExitStack() as stack:
        for number, adapter in numbered:
            if isinstance(adapter, WeightChange):
                laid[number] = stack.enter_context(weights_changed(adapter, model))
        for number, adapter in numbered:
            if isinstance(adapter, TokenEmbedding):
                laid[number] = stack.enter_context(with_placeholder(adapter, model))
            if isinstance(adapter, AestheticGradient):
                laid[number] = stack.enter_context(aesthetic_followed(adapter, model))
        loras = [(number, adapter) for number, adapter in numbered if isinstance(adapter, LowRankAdapter)]
        tensors = stack.enter_context(low_rank([adapter for _, adapter in loras], model))
        laid |= {number: found for (number, _), found in zip(loras, tensors, strict=True)}
        for number, adapter in numbered:
            if isinstance(adapter, Hypernetwork):  # outermost: what wraps a layer must see the changed context too
                laid[number] = stack.enter_context(hypernetwork_laid(adapter, model))
        yield [laid[number] for number, _ in numbered]
