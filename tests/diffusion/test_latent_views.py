"""Views as the model is told of them."""

from pathlib import Path

import pytest

from nodes.diffusion.handles.datasets import Picture, View
from nodes.diffusion.pictures.latent_views import latent_view


@pytest.mark.parametrize(
    ("view", "crop", "valid"),
    [
        (View((20, 16), (3, 0), (16, 16)), (3, 0), None),
        (View((20, 16), (3, 0), (16, 16), flipped=True), (1, 0), None),
        (View((8, 6), (-5, -2), (16, 16)), (0, 0), (5, 2, 13, 8)),
        (View((8, 6), (-5, -2), (16, 16), flipped=True), (0, 0), (3, 2, 11, 8)),
    ],
)
def test_crop_and_valid_area_are_as_seen(view: View, crop: tuple[int, int], valid: tuple[int, ...] | None) -> None:
    found = latent_view(Picture("d", "p", 40, 30, (view,)), view, Path("x"))
    assert (found.original_size, found.size) == ((40, 30), (16, 16))
    assert (found.crop, found.valid) == (crop, valid)
