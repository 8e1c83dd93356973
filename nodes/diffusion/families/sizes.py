"""Sizes of pictures that condition a denoiser (SDXL's micro-conditioning)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShownSizes:
    """A sample's original size, crop and target size; all in pixels, (w, h) or (left, top)."""

    original_size: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]


def shown_whole(size: tuple[int, int]) -> ShownSizes:
    """Return the sizes of a picture that is shown whole, in its own size (w, h)."""
    return ShownSizes(size, (0, 0), size)
