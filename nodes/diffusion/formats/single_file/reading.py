"""Tensors of a single-file checkpoint, taken from the memory-mapped file one by one."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Counterpart, Facts
from nodes.diffusion.families.registry import file_prefixes
from nodes.diffusion.formats.file_formats import format_or_safetensors
from nodes.diffusion.formats.single_file.fp8_scales import is_scaling
from nodes.diffusion.formats.single_file.header import read_single_file
from nodes.diffusion.formats.single_file.tensors import to_folder


def opened(path: Path) -> AbstractContextManager[Callable[[str], Tensor]]:
    """Open a file; the context is a function that returns a tensor by its name in the file."""
    return format_or_safetensors(path).tensors(path)


def unscaled(tensor_of: Callable[[str], Tensor], name: str, scales: Mapping[str, str]) -> Tensor:
    """Return a tensor; a scaled weight times its scale, in float32."""
    tensor = tensor_of(name)
    if name not in scales:
        return tensor
    scale = tensor_of(scales[name]).to(torch.float32)
    return tensor.to(torch.float32) * scale.reshape(-1, *(1,) * (tensor.dim() - 1))


def part_tensors(path: Path, part: str, family: Facts, *, moving_average: bool = False) -> Callable[[str], Counterpart | None]:
    """Return the function from a tensor's name in a folder's part to its counterpart in this file."""
    file = read_single_file(path)
    names = family.tensor_names(file.shapes)

    def counterpart(name: str) -> Counterpart | None:
        found = names.in_file(f"{part}.{name}", file.shapes)
        average = family.moving_average(found.name) if found and moving_average else ""
        return Counterpart(average, found.conversion) if found and average in file.shapes else found

    return counterpart


def fill(
    module: nn.Module,
    path: Path,
    part: str,
    family: Facts,
    device: torch.device,
    dtype: torch.dtype | None,
    *,
    moving_average: bool,
) -> None:
    """Load the weights of an empty module: each is copied once from the mapped file and cast.

    Raises InputError when the file lacks one of them in the module's shape, or when its UNet has more layers.
    """
    counterpart, file = part_tensors(path, part, family, moving_average=moving_average), read_single_file(path)
    own_counterpart, denoiser = part_tensors(path, part, family), file_prefixes("unet")
    filled: dict[str, Tensor] = {}
    missing: list[str] = []
    used: set[str] = set()
    with opened(path) as tensor_of:
        for name, empty in module.state_dict().items():
            found = counterpart(name)
            tensor = to_folder(unscaled(tensor_of, found.name, file.scales), found.conversion) if found else None
            used |= {own.name} if (own := own_counterpart(name)) else set()
            if tensor is None and not empty.is_floating_point():  # a counter, on which no result depends
                filled[name] = empty.to(device)
            elif tensor is None or tensor.shape != empty.shape:
                missing.append(name)
            else:
                own_type = dtype is None or not tensor.is_floating_point()
                filled[name] = tensor.to(device, tensor.dtype if own_type else dtype).contiguous()
    if missing:
        message = f"{path.name}: {part} lacks {len(missing)} weights of the published shapes, such as {missing[0]}."
        raise InputError(message, field="model", remedy="It is another architecture, or holds only a part of a model.")
    unet = [name for name in file.shapes if part == "unet" and name.startswith(denoiser) and not is_scaling(name)]
    if more := [name for name in unet if name not in used]:
        message = f"{path.name}: the UNet holds {len(more)} tensors more than the published one, such as {more[0]}."
        raise InputError(message, field="model", remedy="It is another architecture, such as unCLIP or GLIGEN.")
    module.load_state_dict(filled, assign=True)
