"""Scaled fp8 weights as in ComfyUI's files; needs no torch."""

import math
from collections.abc import Iterable

from nodes.diffusion.errors import InputError

SCALES = (".scale_weight", ".weight_scale")
"""Suffixes of a weight's scale, in place of `.weight`."""
MARKS = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
"""Parts of the names of other tensors of scaled fp8 weights: scales of inputs, and marks of the number format."""


def scales_among(names: Iterable[str]) -> dict[str, str]:
    """Return the names of the scales of weights, by the weights' names."""
    found = [(name, ending) for name in names for ending in SCALES if name.endswith(ending)]
    return {f"{name.removesuffix(ending)}.weight": name for name, ending in found}


def is_scaling(name: str) -> bool:
    """Return whether a tensor only describes the scaling of others."""
    return name.endswith((*SCALES, *MARKS))


def check_scale(name: str, weight: tuple[str, tuple[int, ...]], scale: tuple[str, tuple[int, ...]]) -> None:
    """Raise InputError unless a weight, given as dtype and shape, is fp8 with one scale or one for each row."""
    first, *others = scale[1] or (1,)
    fits = first in (1, *weight[1][:1]) and math.prod(others) == 1 and min(weight[1], default=0) > 0
    if fits and weight[0].startswith("F8_") and scale[0] in ("F32", "F16", "BF16"):
        return
    message = f"{name} is {weight[0]} {list(weight[1])} with scales {scale[0]} {list(scale[1])}."
    remedy = "Read is fp8 with one scale for a weight or for each row; use the fp16 or bf16 file of the same model."
    raise InputError(message, field="model", remedy=remedy)
