"""A model, from a single file or from a folder, as the tensors of a single file of its family."""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import (
    AVERAGE,
    TEXT,
    UNET,
    Change,
    Layout,
    moving_average_name,
    single_file_place,
)
from nodes.diffusion.formats.pickles import DTYPE_NAMES
from nodes.diffusion.formats.single_file.fp8_scales import is_scaling
from nodes.diffusion.formats.single_file.header import SingleFile
from nodes.diffusion.formats.single_file.reading import opened, unscaled
from nodes.diffusion.formats.single_file.tensors import THIRDS
from nodes.diffusion.formats.single_file.writing import Written
from nodes.diffusion.handles.models import Family, PredictionType

DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
LOGIT_SCALE = math.log(100)
"""Where CLIP's training ends; no diffusion model uses it, but readers of the layout look for it."""
EXTRA_LAYER = (22, 23)
"""OpenCLIP's last layer, which SD2 does not use and folders leave out, is filled with the one before it."""


def of_file(file: SingleFile, stack: ExitStack, *, moving_average: bool, unet_trained: bool, scaled: bool) -> dict[str, Written]:
    """Return the tensors of a single file as they are, read when they are written, while `stack` is open.

    A moving average takes the place of the weights when it is asked for; it is left out when it no longer belongs to them.
    Unless they are to stay `scaled`, fp8 weights are multiplied by their scales, as fp16, and what says so is left out.
    """
    tensor_of = stack.enter_context(opened(file.path))
    found: dict[str, Written] = {}
    for name, shape in file.shapes.items():
        if name.startswith(AVERAGE) and (moving_average or unet_trained):
            continue
        if not scaled and is_scaling(name):
            continue
        average = moving_average_name(name)
        source = average if moving_average and name.startswith(UNET) and average in file.shapes else name
        if not scaled and source in file.scales:
            found[name] = Written(shape, torch.float16, partial(unscaled, tensor_of, source, file.scales))
        else:
            found[name] = Written(shape, DTYPES[file.dtypes[source]], partial(tensor_of, source))
    return found


def of_folder(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Written]:
    """Return a folder's tensors, by names with their part's, as a single file holds them, with what only that has.

    Raises InputError for a tensor that has no place in a single file.
    """
    groups: dict[str, dict[Change, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.endswith("position_ids"):
            continue
        if (place := single_file_place(name, layout)) is None:
            message = f"the folder's {name} has no place in a single file."
            raise InputError(message, field="model", remedy="Save it with SavePipeline.")
        groups.setdefault(place.name, {})[place.change] = tensor
    found = {name: _group(group) for name, group in groups.items()}
    return found | _only_in_files(found, layout.family)


def _group(group: Mapping[Change, Tensor]) -> Written:
    change, tensor = next(iter(group.items()))
    shape = tuple(tensor.shape)
    if change == "conv":
        return Written((*shape[:2], 1, 1), tensor.dtype, lambda: tensor.reshape(*shape[:2], 1, 1))
    if change == "transposed":
        return Written((shape[1], shape[0]), tensor.dtype, lambda: tensor.T)
    if change in THIRDS:
        thirds: Iterable[Change] = ("q", "k", "v")
        return Written((3 * shape[0], *shape[1:]), tensor.dtype, lambda: torch.cat([group[third] for third in thirds]))
    return Written(shape, tensor.dtype, lambda: tensor)


def _only_in_files(found: Mapping[str, Written], family: Family) -> dict[str, Written]:
    """Positions of CLIP's encoders, temperature, projection and last layer of OpenCLIP's: no drawing depends on them."""
    extra: dict[str, Written] = {}
    for prefix, fused in TEXT[family].values():
        if not fused:
            positions = found[f"{prefix}text_model.embeddings.position_embedding.weight"].shape[0]
            extra[f"{prefix}text_model.embeddings.position_ids"] = _made(torch.arange(positions)[None])
            continue
        width, dtype = found[f"{prefix}ln_final.weight"].shape[0], found[f"{prefix}ln_final.weight"].dtype
        extra[f"{prefix}logit_scale"] = _made(torch.tensor(LOGIT_SCALE, dtype=dtype))
        if f"{prefix}text_projection" not in found:
            extra[f"{prefix}text_projection"] = _made(torch.eye(width, dtype=dtype))
        used, unused = (f"{prefix}transformer.resblocks.{number}." for number in EXTRA_LAYER)
        if family == "sd2" and not any(name.startswith(unused) for name in found):
            extra |= {name.replace(used, unused): own for name, own in found.items() if name.startswith(used)}
    return extra


def _made(tensor: Tensor) -> Written:
    return Written(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def marked(checkpoint: Mapping[str, Written], family: Family, predicts: PredictionType, *, zero_snr: bool) -> dict[str, Written]:
    """Return a checkpoint with the empty tensors by which programs know velocity (`v_pred`) and noise without signal (`ztsnr`).

    SD2 has none: its files never had them.
    """
    found = {name: own for name, own in checkpoint.items() if name not in ("v_pred", "ztsnr")}
    velocity = predicts == "v_prediction" and (family != "sd2" or "v_pred" in checkpoint)
    names = [name for name, wanted in (("v_pred", velocity), ("ztsnr", zero_snr)) if wanted]
    return found | {name: checkpoint.get(name) or _made(torch.zeros(0)) for name in names}
