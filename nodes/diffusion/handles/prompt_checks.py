"""Checks for prompt syntax of other programs that is not supported here: it is refused or reported."""

import re
from collections.abc import Iterable

from nodes.diffusion.errors import InputError

NETWORK = re.compile(r"<(lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
NODES = {"lora": "LoadLoRA", "lyco": "LoadLoRA", "hypernet": "LoadHypernetwork"}
BRACKETED = re.compile(r"(?<!\\)\[([^\[\]]*)\]")
WHEN = re.compile(r":\s*[0-9.]+\s*$")
WEIGHTED = re.compile(r"(?<!\\)\([^()]*:\s*[+-]?[0-9.]+\s*\)")


def network_in(text: str) -> str:
    """Return the remedy for a `<lora:name:1>` in a text; empty when there is none."""
    if not (found := NETWORK.search(text)):
        return ""
    node = NODES[found[1].lower()]
    return f"{found[0][:60]!r} does nothing in a text: remove it, and put {node} between the model and the node that uses it"


def without_networks(prompt: str) -> str:
    """Return a prompt that names no LoRA; raise ValueError, naming the node to use, when it does."""
    if problem := network_in(prompt):
        raise ValueError(problem)
    return prompt


def without_schedules(prompt: str, field: str = "prompts") -> str:
    """Return a prompt; raise InputError for AUTOMATIC1111's prompt editing, `[a|b]` and `[a:b:0.5]`.

    `field` is the setting that holds the prompt.
    """
    for found in BRACKETED.finditer(prompt):
        if "|" in found[1] or WHEN.search(found[1][-24:]):
            remedy = r"Leave them out, or write \[ and \] for the letters."
            message = f"{found[0][:60]!r} would change the prompt between steps, which is not done here."
            raise InputError(message, field=field, remedy=remedy)
    return prompt


def unread_weights_warning(kind: str, texts: Iterable[str]) -> str:
    """Return a warning about texts, `kind` such as `captions`, with weights `(red:1.3)` that are not read; empty without any."""
    found = [text for text in texts if WEIGHTED.search(text)]
    return f"{len(found)} {kind} hold weights, such as {found[0][:80]!r}, which are letters here." if found else ""
