"""The table of model file formats: a further one is a row here and a file that reads it. Needs no torch itself."""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.diffusion.formats.safetensors_header import read_header

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FileHeader:
    """The tensors of a file, by name."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """Dtypes in safetensors' names, such as `F16`."""
    starts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Offsets in the file; empty for formats without them."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class FileFormat:
    """One row of the table."""

    name: str
    header: Callable[[Path], FileHeader]
    """Reads the header; raises ValueError, LookupError, TypeError or AttributeError for a damaged file, or InputError."""
    tensors: "Callable[[Path], AbstractContextManager[Callable[[str], Tensor]]]"
    """Opens a file, and yields a function that returns a tensor by its name."""
    is_safetensors: bool = False
    """True for the layout of safetensors: merges read slices at offsets, and its header needs no torch."""
    is_listed: bool = False
    """True if the editor lists files of this suffix as models."""
    is_uploaded: bool = False
    """True if the editor accepts such uploads, after reading their headers."""


def _safetensors_header(path: Path) -> FileHeader:
    header, begin = read_header(path)
    metadata = header.pop("__metadata__", {})
    return FileHeader(
        shapes={name: tuple(entry["shape"]) for name, entry in header.items()},
        dtypes={name: entry["dtype"] for name, entry in header.items()},
        starts={name: begin + entry["data_offsets"][0] for name, entry in header.items()},
        metadata={str(name): str(text) for name, text in metadata.items()},
    )


@contextmanager
def _safetensors(path: Path) -> "Generator[Callable[[str], Tensor]]":
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        yield file.get_tensor


def _pickle_header(path: Path) -> FileHeader:
    from nodes.diffusion.formats.pickles import DTYPE_NAMES, pickled_tensors

    tensors = pickled_tensors(path)
    dtypes = {name: DTYPE_NAMES[tensor.dtype] for name, tensor in tensors.items() if tensor.dtype in DTYPE_NAMES}
    return FileHeader({name: tuple(tensors[name].shape) for name in dtypes}, dtypes)


@contextmanager
def _pickle(path: Path) -> "Generator[Callable[[str], Tensor]]":
    from nodes.diffusion.formats.pickles import pickled_tensors

    yield pickled_tensors(path).__getitem__


FORMATS = {
    ".safetensors": FileFormat(
        "safetensors", _safetensors_header, _safetensors, is_safetensors=True, is_listed=True, is_uploaded=True
    ),
    ".ckpt": FileFormat("PyTorch", _pickle_header, _pickle, is_listed=True),
    ".pt": FileFormat("PyTorch", _pickle_header, _pickle),
    ".pth": FileFormat("PyTorch", _pickle_header, _pickle),
    ".bin": FileFormat("PyTorch", _pickle_header, _pickle),
}
"""The formats by suffix, in lower case."""


def format_of(path: Path) -> FileFormat | None:
    """Return the format of a file's suffix; None if it is not in the table."""
    return FORMATS.get(path.suffix.lower())


def is_safetensors(path: Path) -> bool:
    """Return whether a file's suffix is that of the layout of safetensors."""
    kind = format_of(path)
    return kind is not None and kind.is_safetensors


def format_or_safetensors(path: Path) -> FileFormat:
    """Return the format of a file's suffix; that of safetensors for a suffix that is not in the table."""
    return format_of(path) or FORMATS[".safetensors"]
