"""Pictures too large for a VAE at once: overlapping tiles go through it one by one and are blended."""

from collections.abc import Callable

import torch
from torch import Tensor

LARGE = 1536 * 1024
"""Pixels up to which a picture goes through whole, which is exact; beyond, memory stays that of one tile."""
TILE = 1024
OVERLAP = 256
"""Pixels; a side of a tile, and what neighbours have at least in common."""


def is_large(height: int, width: int) -> bool:
    """Return whether a picture of this size is cut into tiles."""
    return height * width > LARGE


def in_tiles(inputs: Tensor, encode_or_decode: Callable[[Tensor], Tensor], factor: int, *, enlarged: bool) -> Tensor:
    """Return `encode_or_decode` of [1, c, h, w] in float32, assembled from tiles; linear blending hides their borders.

    Pixels are `factor` times as many on a side as latents; `enlarged` says that the inputs are the latents. A tile's own
    statistics take the place of the picture's in group norms, so the result differs a little from that of the whole.
    """
    into, out_of = (1, factor) if enlarged else (factor, 1)
    height, width = (side // into for side in inputs.shape[2:])
    tops, lefts = (_starts(side, TILE // factor, OVERLAP // factor) for side in (height, width))
    total: Tensor | None = None
    weights = torch.zeros(height * out_of, width * out_of, device=inputs.device)
    for top, bottom in tops:
        for left, right in lefts:
            tile = encode_or_decode(inputs[:, :, top * into : bottom * into, left * into : right * into]).float()
            weight = torch.outer(*(_ramp(side, OVERLAP // factor * out_of, tile.device) for side in tile.shape[2:]))
            if total is None:
                total = torch.zeros(*tile.shape[:2], *weights.shape, device=tile.device)
            place = (slice(top * out_of, bottom * out_of), slice(left * out_of, right * out_of))
            total[:, :, *place] += tile * weight
            weights[place] += weight
    assert total is not None
    return total / weights


def _starts(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Return start and end of as few tiles of one size as cover a side, evenly spread."""
    tile = min(tile, length)
    count = 1 + (-(-(length - tile) // (tile - overlap)) if length > tile else 0)
    starts = [round(number * (length - tile) / max(1, count - 1)) for number in range(count)]
    return [(start, start + tile) for start in starts]


def _ramp(length: int, overlap: int, device: torch.device) -> Tensor:
    """Weights that rise from both ends of a tile over the overlap."""
    places = torch.arange(length, device=device) + 0.5
    return torch.minimum(places, length - places).clamp(max=overlap) / overlap
