"""Applying adapters of every kind to a model, and removing them.

A further kind is a dataclass in `handles/adapters.py`, its entry in `Adapter` there, and a row of `KINDS`.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import nn

from nodes.diffusion.adapters.aesthetic_gradient import aesthetic_followed
from nodes.diffusion.adapters.changed_weights import weights_changed
from nodes.diffusion.adapters.hypernetwork.apply import hypernetwork_applied
from nodes.diffusion.adapters.lora.apply import low_rank
from nodes.diffusion.handles.adapters import Adapter
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.placeholder_tokens import with_placeholder

Tensors = dict[str, nn.Parameter]
ApplyAll = Callable[[Sequence[Any], ActiveModel], AbstractContextManager[Sequence[Tensors]]]
"""Applies all adapters of one kind for one `with` block; gives each one's tensors by name."""


def one_by_one(apply: Callable[[Any, ActiveModel], AbstractContextManager[Tensors]]) -> ApplyAll:
    """Return the function that applies several adapters of a kind one after the other."""

    @contextmanager
    def apply_all(adapters: Sequence[Any], model: ActiveModel) -> Generator[Sequence[Tensors]]:
        with ExitStack() as stack:
            yield [stack.enter_context(apply(adapter, model)) for adapter in adapters]

    return apply_all


KINDS: dict[str, ApplyAll] = {
    "weights": one_by_one(weights_changed),
    "embedding": one_by_one(with_placeholder),
    "aesthetic": one_by_one(aesthetic_followed),
    "lora": low_rank,
    "hypernetwork": one_by_one(hypernetwork_applied),
}
"""By kind of adapter, the function that applies it, in this order: wrappers wrap changed layers, and hypernetworks come last,
as wrappers must get the changed context too. So only the order within a kind counts."""
PATCHING = frozenset({"weights", "lora", "hypernetwork"})
"""The kinds that change the modules, which all uses of the same parts share."""


@contextmanager
def apply_adapters(adapters: Sequence[Adapter], model: ActiveModel) -> Generator[list[Tensors]]:
    """Apply adapters to a model; yield each one's tensors by name. Afterwards the model has its own layers again."""
    found: dict[int, Tensors] = {}
    with ExitStack() as stack:
        for kind, apply_all in KINDS.items():
            numbers = [number for number, adapter in enumerate(adapters) if adapter.kind == kind]
            if numbers:
                tensors = stack.enter_context(apply_all([adapters[number] for number in numbers], model))
                found |= dict(zip(numbers, tensors, strict=True))
        yield [found[number] for number in range(len(adapters))]
