"""The header of a single-file checkpoint: tensors and family. No torch for safetensors."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Facts
from nodes.diffusion.families.registry import family_of_file, file_prefixes, moving_average, readable
from nodes.diffusion.families.unsupported import unsupported
from nodes.diffusion.formats.file_formats import format_of, format_or_safetensors
from nodes.diffusion.formats.opening import Stamp, open_regular, stamp_of
from nodes.diffusion.formats.single_file.fp8_scales import check_scale, scales_among


@dataclass(frozen=True)
class SingleFile:
    """Header of a checkpoint."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """Dtypes in safetensors' names, such as `F16`."""
    starts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Offsets in the file; empty for pickles."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)

    @cached_property
    def scales(self) -> dict[str, str]:
        """Return the names of the scales of fp8 weights, by the weights' names."""
        return scales_among(self.shapes)

    @property
    def has_moving_average(self) -> bool:
        return any(average in self.shapes for name in self.shapes if (average := moving_average(name)))

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of one tensor, read without torch; zero for dtypes that are no floats."""
        return _numbers(self, name)


def is_single_file(path: Path) -> bool:
    """Return whether a path names a checkpoint in one file, rather than a folder."""
    return format_of(path) is not None and path.is_file()


def read_single_file(path: Path) -> SingleFile:
    """Return the header of a checkpoint after checking that it is complete; cached by file."""
    return _read(path, stamp_of(path))


@lru_cache(maxsize=16)
def _read(path: Path, _stamp: Stamp) -> SingleFile:
    kind = format_or_safetensors(path)
    try:
        header = kind.header(path)
        return SingleFile(path, header.shapes, header.dtypes, header.starts, header.metadata)
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError):
        message = f"the header of {path.name} cannot be used."
        raise InputError(message, field="model", remedy="Copy or download it again.") from None


def family_in(file: SingleFile) -> Facts:
    """Return the family by the names of tensors; raise InputError naming the other kind of file, or missing parts."""
    family = family_of_file(file.shapes)
    if family is None:
        raise InputError(f"{file.path.name} {_otherwise(file)}.", field="model", remedy=readable())
    family.check_file(file)
    check_scales(file)
    return family


def _otherwise(file: SingleFile) -> str:
    """Return a description of a file of no known family."""
    if kind := unsupported(file.shapes):
        return f"is {kind}"
    if any(map(file.has, file_prefixes("unet"))):
        return "holds no text encoder of a known family"
    return f"holds {'only a VAE' if any(map(file.has, (*file_prefixes('vae'), 'decoder.'))) else 'no Stable Diffusion UNet'}"


def numbers_of_part(path: Path, part: str, family: Facts) -> int:
    """Return how many numbers a checkpoint holds for a part, which is named as its folder would be."""
    shapes = read_single_file(path).shapes
    names = family.tensor_names(shapes)
    found = (name for name in shapes if any(own.name.startswith(f"{part}.") for own in names.to_folder(name)))
    return sum(math.prod(shapes[name]) for name in found)


def check_scales(file: SingleFile) -> None:
    """Raise InputError unless scaled weights are fp8, each with one scale or one for each row."""
    for name, scale in file.scales.items():
        kind, shape = file.dtypes.get(name, "missing"), file.shapes.get(name, ())
        check_scale(f"{file.path.name}: {name}", (kind, shape), (file.dtypes[scale], file.shapes[scale]))


def _numbers(file: SingleFile, name: str) -> list[float]:
    """Return the numbers of one tensor, read without torch."""
    format_ = format_or_safetensors(file.path)
    if not format_.is_safetensors:
        with format_.tensors(file.path) as tensor_of:
            return tensor_of(name).tolist()
    count, kind = file.shapes[name][0], file.dtypes[name]
    with open_regular(file.path) as opened:
        opened.seek(file.starts[name])
        size = count * {"F32": 4, "F16": 2, "BF16": 2}.get(kind, 1)
        data = opened.read(size)
    if len(data) < size:
        raise InputError(f"{file.path.name} is cut off in {name}.", field="model", remedy="Copy or download it again.")
    if kind == "F32":
        return list(struct.unpack(f"<{count}f", data))
    if kind == "F16":
        return list(struct.unpack(f"<{count}e", data))
    if kind == "F8_E4M3":
        return [_e4m3(byte) for byte in data]
    if kind == "F8_E5M2":  # the upper halves of fp16
        return list(struct.unpack(f"<{count}e", b"".join(b"\0" + data[n : n + 1] for n in range(count))))
    if kind != "BF16":
        return [0.0]
    wide = b"".join(b"\0\0" + data[place : place + 2] for place in range(0, len(data), 2))
    return list(struct.unpack(f"<{count}f", wide))


def _e4m3(byte: int) -> float:
    """Return the value of an E4M3 byte: a sign, 4 bits of exponent and 3 of mantissa."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = mantissa / 8 * 2**-6 if not exponent else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -size if byte >> 7 else size
