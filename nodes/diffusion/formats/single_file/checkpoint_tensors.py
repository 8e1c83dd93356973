"""The tensors of a single file to be written, from a model in such a file or in a folder."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Conversion, Extra, Facts, Rows
from nodes.diffusion.families.registry import is_moving_average, moving_average as average_of
from nodes.diffusion.formats.pickles import DTYPE_NAMES
from nodes.diffusion.formats.single_file.fp8_scales import is_scaling
from nodes.diffusion.formats.single_file.header import SingleFile
from nodes.diffusion.formats.single_file.reading import opened, unscaled
from nodes.diffusion.formats.single_file.tensors import swapped
from nodes.diffusion.formats.single_file.writing import Written
from nodes.diffusion.handles.models import PredictionType

DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
LOGIT_SCALE = math.log(100)
"""The final value in CLIP's training; no diffusion model uses it, but readers of the layout expect it."""


def of_file(file: SingleFile, stack: ExitStack, *, moving_average: bool, unet_trained: bool, scaled: bool) -> dict[str, Written]:
    """Return the tensors of a single file as they are, read when they are written, while `stack` is open.

    With `moving_average` the moving average replaces the weights; it is left out when the weights have been trained since.
    Unless `scaled`, fp8 weights are multiplied by their scales, as fp16, and the tensors of the scaling are left out.
    """
    tensor_of = stack.enter_context(opened(file.path))
    found: dict[str, Written] = {}
    for name, shape in file.shapes.items():
        if is_moving_average(name) and (moving_average or unet_trained):
            continue
        if not scaled and is_scaling(name):
            continue
        average = average_of(name) if moving_average else ""
        source = average if average in file.shapes else name
        if not scaled and source in file.scales:
            found[name] = Written(shape, torch.float16, partial(unscaled, tensor_of, source, file.scales))
        else:
            found[name] = Written(shape, DTYPES[file.dtypes[source]], partial(tensor_of, source))
    return found


def of_folder(tensors: Mapping[str, Tensor], family: Facts) -> dict[str, Written]:
    """Return a folder's tensors, by names with their part's, in the form of a single file, with its additional tensors.

    Raises InputError for a tensor without a counterpart in a single file.
    """
    names, groups = family.tensor_names(tensors), dict[str, dict[Conversion, Tensor]]()
    for name, tensor in tensors.items():
        if name.endswith("position_ids"):
            continue
        if (counterpart := names.to_file(name)) is None:
            message = f"the folder's {name} has no place in a single file."
            raise InputError(message, field="model", remedy="Save it with SavePipeline.")
        groups.setdefault(counterpart.name, {})[counterpart.conversion] = tensor
    found = {name: _group(group) for name, group in groups.items()}
    return found | {name: _extra(extra, found[extra.like]) for name, extra in family.extra_tensors(found).items()}


def _group(group: Mapping[Conversion, Tensor]) -> Written:
    conversion, tensor = next(iter(group.items()))
    shape = tuple(tensor.shape)
    if conversion == "conv":
        return Written((*shape[:2], 1, 1), tensor.dtype, lambda: tensor.reshape(*shape[:2], 1, 1))
    if conversion == "transposed":
        return Written((shape[1], shape[0]), tensor.dtype, lambda: tensor.T)
    if conversion == "swapped":
        return Written(shape, tensor.dtype, lambda: swapped(tensor))
    if isinstance(conversion, Rows):
        parts = [group[Rows(index, conversion.shares)] for index in range(len(conversion.shares))]
        return Written((sum(map(len, parts)), *shape[1:]), tensor.dtype, lambda: torch.cat(parts))
    return Written(shape, tensor.dtype, lambda: tensor)


def _extra(extra: Extra, like: Written) -> Written:
    """Return a tensor that only single files have."""
    match extra.kind:
        case "positions":
            return _made(torch.arange(like.shape[0])[None])
        case "logit scale":
            return _made(torch.tensor(LOGIT_SCALE, dtype=like.dtype))
        case "identity":
            return _made(torch.eye(like.shape[0], dtype=like.dtype))
        case "copy":
            return like


def _made(tensor: Tensor) -> Written:
    return Written(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def marked(checkpoint: Mapping[str, Written], family: Facts, predicts: PredictionType, *, zero_snr: bool) -> dict[str, Written]:
    """Return a checkpoint with the empty tensors that mark its prediction type and zero terminal SNR."""
    found = {name: own for name, own in checkpoint.items() if name not in ("v_pred", "ztsnr")}
    names = family.marks(predicts, zero_snr=zero_snr, present=checkpoint)
    return found | {name: checkpoint.get(name) or _made(torch.zeros(0)) for name in names}
