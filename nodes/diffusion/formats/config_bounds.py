"""Bounds of a `config.json`, one line of which can name more layers than a machine builds in an hour."""

from collections.abc import Iterator
from typing import Any

from nodes.diffusion.errors import InputError

MAX_CONFIG_BYTES = 4 * 2**20
MAX_LAYERS = 1000
"""Most layers of a model; the largest published models have about a hundred."""
DEEP = ("layers_per_block", "transformer_layers_per_block", "reverse_transformer_layers_per_block")
BLOCKS = ("down_block_types", "up_block_types", "block_out_channels")


def check_depth(config: dict[str, Any], name: str) -> None:
    """Raise InputError when a configuration, or one inside it, describes more layers than any model has."""
    layers = max((_layers(each) for each in _configs(config)), default=0)
    if layers > MAX_LAYERS:
        message = f"{name} describes {layers} layers; models have at most {MAX_LAYERS}."
        raise InputError(message, field="model", remedy="Copy or download it again.")


def _configs(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    open_ = [config]
    while open_:
        found = open_.pop()
        yield found
        open_ += [value for value in found.values() if isinstance(value, dict)]


def _layers(config: dict[str, Any]) -> int:
    """Return the approximate number of layers that one configuration describes."""
    blocks = max((len(config[name]) for name in BLOCKS if isinstance(config.get(name), list)), default=1)
    for name in DEEP:
        blocks *= max([1, *_numbers(config.get(name))])
    plain = [number for name in config if "layers" in name and name not in DEEP for number in _numbers(config[name])]
    return max([blocks, *plain])


def _numbers(value: object) -> list[int]:
    """Return the whole numbers in a value of nested lists."""
    found: list[int] = []
    open_ = [value]
    while open_:
        each = open_.pop()
        if isinstance(each, list):
            open_ += each
        elif isinstance(each, int):
            found.append(each)
    return found
