"""Endless, repeatable batches from files: which pictures, which view, which caption; never more than a few in memory."""

import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from nodes.diffusion.handles.datasets import LatentItem, LatentView
from nodes.diffusion.randomness import generator_for, seed_for

CACHED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Draw:
    """One sample of a batch; `caption` is the number of its variant, None where caption dropout left it out."""

    item: int
    view: LatentView
    caption: int | None


def draw_batches(
    items: Sequence[LatentItem], captions: Sequence[int], *, batch_size: int, caption_dropout: float, seed: int
) -> Iterator[list[Draw]]:
    """Yield batches for ever, each full and of one size; pictures of one size come equally often, as their repeats say.

    `captions[i]` is the number of caption variants of `items[i]`. A size's pictures come as one endless row of shuffled
    rounds, from which each of its batches takes the next; the size of a batch is chosen at random, in proportion to its pictures.
    """
    rows: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(items):
        rows.setdefault(item.views[0].size, []).extend([index] * item.repeats)
    sizes = sorted(rows)
    streams = {size: _rounds(rows[size], seed, f"order {size}") for size in sizes}
    for step in itertools.count():
        draw = random.Random(seed_for(seed, "draw", step))
        size = draw.choices(sizes, [len(rows[size]) for size in sizes])[0]
        yield [_drawn(index, items, captions, caption_dropout, draw) for index in itertools.islice(streams[size], batch_size)]


def _rounds(indices: list[int], seed: int, purpose: str) -> Iterator[int]:
    for number in itertools.count():
        order = list(indices)
        random.Random(seed_for(seed, purpose, number)).shuffle(order)
        yield from order


def _drawn(index: int, items: Sequence[LatentItem], captions: Sequence[int], caption_dropout: float, draw: random.Random) -> Draw:
    view = draw.choice(items[index].views)
    caption = draw.randrange(captions[index])
    return Draw(index, view, None if draw.random() < caption_dropout else caption)


class TensorFiles:
    """Reads safetensors files, and keeps those read last in memory up to a fixed size."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._limit = limit
        self._held: OrderedDict[Path, dict[str, Tensor]] = OrderedDict()
        self._bytes = 0

    def read(self, path: Path) -> dict[str, Tensor]:
        """Return the tensors of a file."""
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        tensors = load_file(path)
        self._held[path] = tensors
        self._bytes += _size(tensors)
        while self._bytes > self._limit and len(self._held) > 1:
            self._bytes -= _size(self._held.popitem(last=False)[1])
        return tensors


def _size(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def read_latents(views: Sequence[LatentView], files: TensorFiles, generator: torch.Generator | None) -> Tensor:
    """Return latents [n, c, h, w]: samples of each view's distribution, or its mean without a generator."""
    read = [files.read(view.file) for view in views]
    mean = torch.stack([tensors["mean"] for tensors in read])
    if generator is None:
        return mean
    std = torch.stack([tensors["std"] for tensors in read])
    return mean + std * torch.randn(mean.shape, generator=generator)


@dataclass(frozen=True)
class Noise:
    """The random part of one optimizer step, for the whole batch."""

    noise: Tensor
    levels: Tensor


def draw_noise(
    shape: Sequence[int],
    levels: Callable[[int, tuple[int, int], torch.Generator], Tensor],
    *,
    noise_offset: float,
    seed: int,
    step: int,
) -> Noise:
    """Return noise of `shape` [n, c, h, w] and noise levels [n]; an offset is part of the noise, so of the target too.

    `levels` is `Objective.levels`.
    """
    generator = generator_for(seed, "noise", step)
    noise = torch.randn(tuple(shape), generator=generator)
    chosen = levels(shape[0], (shape[2], shape[3]), generator)
    if noise_offset:
        noise = noise + noise_offset * torch.randn((shape[0], shape[1], 1, 1), generator=generator)
    return Noise(noise, chosen)
