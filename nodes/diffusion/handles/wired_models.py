"""Checks of the nodes wired to an input, before anything runs; by class name, because categories do not import each other."""

from collections.abc import Sequence

from nodes.diffusion.errors import InputError

BARE = frozenset({"LoadModel", "NewModel"})
"""Nodes whose models have no adapters."""


def untrained_lora(sources: Sequence[object]) -> object | None:
    """Return the node that attaches an untrained LoRA directly before an input; None when there is none."""
    return next((source for source in sources if type(source).__name__ == "InjectLoRA"), None)


def refuse_untrained(sources: Sequence[object], field: str = "model") -> None:
    """Raise InputError when a wired model has an untrained adapter."""
    if untrained_lora(sources):
        raise InputError("this model has an adapter that is not trained.", field=field, remedy="Wire the trained model here.")


def refuse_bare(sources: Sequence[object], message: str, remedy: str, field: str = "model") -> None:
    """Raise InputError with this message when a model is wired without adapters."""
    if any(type(source).__name__ in BARE for source in sources):
        raise InputError(message, field=field, remedy=remedy)
