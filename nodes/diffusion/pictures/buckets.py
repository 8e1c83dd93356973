"""Views of pictures: a centered square, an aspect-ratio bucket, or seeded random crops."""

import random

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import View

Size = tuple[int, int]
MAX_RESIZED_PIXELS = 2**28
"""A long, thin picture grows far beyond its own size when its short side is resized to fit."""


def bucket_sizes(resolution: int, step: int) -> list[Size]:
    """Return all sizes (w, h) in multiples of `step`, of at most `resolution` squared pixels and an aspect up to 2."""
    area, sizes = resolution * resolution, set[Size]()
    for width in range(step, 2 * resolution + 1, step):
        height = min(area // width // step * step, 2 * resolution)
        if height >= step and max(width, height) <= 2 * min(width, height):
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def nearest_bucket(size: Size, buckets: list[Size]) -> Size:
    """Return the bucket whose aspect ratio is nearest in ratio, the larger one of equals."""
    aspect = size[0] / size[1]

    def distance(bucket: Size) -> tuple[float, int]:
        other = bucket[0] / bucket[1]
        return round(max(aspect / other, other / aspect), 9), -bucket[0] * bucket[1]

    return min(buckets, key=distance)


def plan_views(
    size: Size, target: Size, *, random_crops: int, flip: bool, seed: str, smaller_copies: int = 0
) -> tuple[View, ...]:
    """Return how a picture of `size` becomes `target`: resized to cover it, then cropped in the center or at random places.

    With `random_crops` = N there are N random crops, by `seed`; with `flip` each view comes mirrored too; `smaller_copies`
    adds views that show the whole picture smaller, at a random place. A picture too long and thin raises InputError.
    """
    scale = max(target[0] / size[0], target[1] / size[1])
    resized = max(target[0], round(size[0] * scale)), max(target[1], round(size[1] * scale))
    if resized[0] * resized[1] > MAX_RESIZED_PIXELS:
        raise InputError(f"{size[0]} x {size[1]} pixels are too long and thin for {target[0]} x {target[1]}.", field="folder")
    free = resized[0] - target[0], resized[1] - target[1]
    draw = random.Random(seed)
    crops = [(draw.randint(0, free[0]), draw.randint(0, free[1])) for _ in range(random_crops)] or [(free[0] // 2, free[1] // 2)]
    mirrored = (False, True) if flip else (False,)
    views = [(resized, crop) for crop in dict.fromkeys(crops)] + [_smaller(size, target, draw) for _ in range(smaller_copies)]
    return tuple(View(shown, crop, target, flipped) for shown, crop in views for flipped in mirrored)


def _smaller(size: Size, target: Size, draw: random.Random) -> tuple[Size, Size]:
    """Return the size of the whole picture at a third to four fifths of the view (Kumari et al. 2023, 3.1), and its place."""
    scale = draw.uniform(1 / 3, 0.8) * min(target[0] / size[0], target[1] / size[1])
    shown = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return shown, (-draw.randint(0, target[0] - shown[0]), -draw.randint(0, target[1] - shown[1]))
