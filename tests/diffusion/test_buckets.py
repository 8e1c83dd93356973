"""Buckets and crops: exact sizes, nothing outside the picture, random only by seed."""

import pytest
from hypothesis import given, strategies as st

from nodes.diffusion.errors import InputError
from nodes.diffusion.pictures.buckets import bucket_sizes, nearest_bucket, plan_views


@pytest.mark.parametrize(("resolution", "step"), [(512, 64), (1024, 64), (128, 16), (64, 64)])
def test_buckets_are_multiples_within_the_area(resolution: int, step: int) -> None:
    sizes = bucket_sizes(resolution, step)
    assert (resolution, resolution) in sizes
    for width, height in sizes:
        assert width % step == 0
        assert height % step == 0
        assert width * height <= resolution**2
        assert max(width, height) <= 2 * min(width, height)
        assert (height, width) in sizes


def test_a_picture_goes_to_the_bucket_of_its_shape() -> None:
    sizes = bucket_sizes(512, 64)
    assert nearest_bucket((1000, 1000), sizes) == (512, 512)
    assert nearest_bucket((300, 300), sizes) == (512, 512)
    wide, tall = nearest_bucket((1500, 1000), sizes), nearest_bucket((1000, 1500), sizes)
    assert wide == tall[::-1]
    assert wide[0] / wide[1] == pytest.approx(1.5, rel=0.15)
    assert nearest_bucket((9000, 10), sizes)[0] > nearest_bucket((9000, 10), sizes)[1]


@given(st.integers(10, 5000), st.integers(10, 5000), st.sampled_from(bucket_sizes(512, 64)), st.integers(0, 5), st.booleans())
def test_every_view_is_exact_and_inside(width: int, height: int, target: tuple[int, int], crops: int, flip: bool) -> None:
    views = plan_views((width, height), target, random_crops=crops, flip=flip, seed="s")
    assert 1 <= len(views) <= max(1, crops) * (1 + flip)
    for view in views:
        assert view.size == target
        for axis in (0, 1):
            assert view.resized[axis] >= target[axis]
            assert 0 <= view.crop[axis] <= view.resized[axis] - target[axis]
        assert min(view.resized[0] - target[0], view.resized[1] - target[1]) <= 1


def test_a_thread_is_refused() -> None:
    assert plan_views((5000, 5), (512, 512), random_crops=0, flip=False, seed="")[0].resized == (512_000, 512)
    with pytest.raises(InputError, match="too long and thin"):
        plan_views((20_000, 2), (512, 512), random_crops=0, flip=False, seed="")


def test_random_crops_differ_and_repeat() -> None:
    first = plan_views((900, 300), (64, 64), random_crops=4, flip=False, seed="1")
    assert len({view.crop for view in first}) == 4
    assert first == plan_views((900, 300), (64, 64), random_crops=4, flip=False, seed="1")
    assert first != plan_views((900, 300), (64, 64), random_crops=4, flip=False, seed="2")


def test_flips_come_beside_the_plain_views() -> None:
    views = plan_views((100, 100), (64, 64), random_crops=0, flip=True, seed="")
    assert [view.flipped for view in views] == [False, True]
