"""Checks that what a node draws with fits the family of its model; needs no torch."""

from collections.abc import Sequence
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts


def check_known_drawing(known: Sequence[Any], sampler: str, size: tuple[int, int]) -> None:
    """Raise InputError for a sampler, or a size (w, h) in pixels, with which a model that is known beforehand cannot draw."""
    for model in known:
        check_sampler(model["prediction_type"], sampler)
        _check_sides(model["family"], size)


def check_sampler(prediction_type: str, sampler: str) -> None:
    """Raise InputError for a sampler whose steps make no sense for what a model predicts."""
    if prediction_type == "flow" and sampler == "euler ancestral":
        remedy = "Choose euler or dpm++ 2m."
        raise InputError("euler ancestral is not for rectified-flow models.", field="sampler", remedy=remedy)


def _check_sides(family: str, size: tuple[int, int]) -> None:
    step, title = facts(family).picture_step, facts(family).title
    for field, side in zip(("width", "height"), size, strict=True):
        if side % step:
            message = f"{title} draws pictures whose sides are multiples of {step} pixels, and {side} is none."
            raise InputError(message, field=field, remedy=f"Choose {side // step * step or step} or {(side // step + 1) * step}.")
