"""Tensors of a checkpoint, from the headers of its files alone; needs no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Counterpart, Facts, denoiser_folder
from nodes.diffusion.families.registry import family_of_denoiser, part_folders
from nodes.diffusion.formats import safetensors_header
from nodes.diffusion.formats.file_formats import format_of
from nodes.diffusion.formats.model_folders import AGAIN, check_whole
from nodes.diffusion.formats.single_file.fp8_scales import check_scale, is_scaling, scales_among
from nodes.diffusion.formats.weight_files import pickled_parts
from nodes.diffusion.handles.adapters import in_folder

BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one number, by dtype in safetensors headers."""
IMAGE_ENCODER = "image_encoder."
CONVERT = "LoadModel opens pickles that hold tensors alone, and SaveCheckpoint writes them as .safetensors."
CONVERT_FOLDER = "Open the folder with LoadModel, write it with SavePipeline, and merge that one."


@dataclass(frozen=True)
class Entry:
    """The location of one tensor in a file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset in the file."""
    scale: "Entry | None" = None
    """The scale of a scaled fp8 weight: one number, or one for each row."""

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        return "F" in self.dtype


Header = Mapping[str, Entry]


def read_file_header(file: Path) -> dict[str, Entry]:
    """Return the tensors of one safetensors file; raise InputError when it is damaged or of another format."""
    if (kind := format_of(file)) and not kind.is_safetensors:
        raise InputError(f"{file.name} is no safetensors file, which merges need.", field="path", remedy=CONVERT)
    check_whole(file)
    header, begin = safetensors_header.read_header(file)
    entries = {name: _entry(file, name, facts, begin) for name, facts in header.items() if name != "__metadata__"}
    end = begin
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].count)):
        if entry.start < end:
            raise InputError(f"{file.name}: the bytes of {name} are another tensor's too.", field="path", remedy=AGAIN)
        end = entry.start + entry.count * BYTES[entry.dtype]
    return _scaled(file, entries)


def _scaled(file: Path, entries: dict[str, Entry]) -> dict[str, Entry]:
    """Return the entries with scales attached to their weights, instead of as tensors of their own."""
    scales = {name: entries[scale] for name, scale in scales_among(entries).items() if name in entries}
    for name, scale in scales.items():
        check_scale(f"{file.name}: {name}", (entries[name].dtype, entries[name].shape), (scale.dtype, scale.shape))
    return {name: replace(own, scale=scales.get(name)) for name, own in entries.items() if not is_scaling(name)}


def read_metadata(file: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file."""
    return safetensors_header.read_header(file)[0].get("__metadata__", {})


def _entry(file: Path, name: str, facts: dict[str, list[int]], base: int) -> Entry:
    """Return one entry of a header; raise InputError unless its dtype is known and its bytes match its shape."""
    try:
        begin, end = facts["data_offsets"]
        entry = Entry(file, str(facts["dtype"]), tuple(facts["shape"]), base + begin)
        fits = 0 <= begin <= end and end - begin == entry.count * BYTES[entry.dtype] and min(entry.shape, default=0) >= 0
    except (KeyError, TypeError, ValueError):
        fits, entry = False, None
    if entry is None or not fits:
        raise InputError(f"{file.name}: the header's entry of {name} cannot be used.", field="path", remedy=AGAIN)
    return entry


def read_header(place: Path) -> dict[str, Entry]:
    """Return the tensors of a safetensors file, or of a diffusers folder with each part's name before its tensors'."""
    if place.is_file():
        return read_file_header(place)
    if pickled := pickled_parts(place):
        message = f"{pickled[0].name} holds pickled weights (.bin), which merges do not read."
        raise InputError(message, field="path", remedy=CONVERT_FOLDER)
    files = [(part, file) for part in part_folders(weights=True) for file in sorted((place / part).glob("*.safetensors"))]
    return {f"{part}.{name}": entry for part, file in files for name, entry in read_file_header(file).items()}


def with_changes(header: Header, changes: tuple[Path, ...]) -> dict[str, Entry]:
    """Return a checkpoint's header with trained weights in place of its own; raise InputError for one without a counterpart."""
    found = dict(header)
    family = facts_of(header)
    for file in changes:
        trained = read_file_header(file)
        has_image_encoder = any(name.startswith(IMAGE_ENCODER) for name in trained)
        for name, entry in trained.items():
            if has_image_encoder and (name.startswith(IMAGE_ENCODER) or ".text_projection." in name):
                continue  # CLIP's projections, which diffusion does not use
            own = _counterpart(name, header, family)
            if own and own.conversion not in ("", "conv"):
                message = f"the trained weight {name} has no tensor of its own in this file, or one of another order."
                saver = "SavePipeline" if family and "single file" in family.refusals else "SaveCheckpoint"
                remedy = f"Write the model with {saver}, and load that with LoadCheckpoint."
                raise InputError(message, field="model", remedy=remedy)
            if own is None or header[own.name].shape != entry.shape + (1, 1) * (own.conversion == "conv"):
                message = f"the trained weight {name} has no place of its size in this model."
                raise InputError(message, field="model", remedy="Use it with the model that it was trained on.")
            found[own.name] = replace(entry, shape=header[own.name].shape)
    return found


def _counterpart(name: str, header: Header, family: Facts | None) -> Counterpart | None:
    """Return the tensor that a trained weight replaces; its name has numbers of text encoders, and `unet` for any denoiser."""
    part, _, inner = name.partition(".")
    plain = f"{denoiser_folder(family)}.{inner}" if family and part == "unet" else in_folder(name)
    own = [spelled for spelled in (plain, plain.replace(".", ".text_model.", 1)) if spelled in header]
    if own:
        return Counterpart(own[0])
    return family.tensor_names(header).in_file(plain, header) if family else None


def facts_of(header: Header) -> Facts | None:
    """Return the family whose denoiser a checkpoint holds; None if there is none."""
    return family_of_denoiser({name: entry.shape for name, entry in header.items()})


def layout_of(header: Header) -> str:
    """Return `folder` when all tensors have the names of a folder's, `single file` when none has, and otherwise nothing."""
    parts = [name.partition(".")[0] in part_folders(weights=True) for name in header]
    return "folder" if all(parts) else "" if any(parts) else "single file"


def family_of(header: Header) -> str:
    """Return the name of that family, or `other`."""
    return family.name if (family := facts_of(header)) else "other"
