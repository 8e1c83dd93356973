"""PyTorch's old `.pt` files: written in the form that other programs accept, opened without running code."""

import io
import re
import warnings
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.opening import Stamp, stamp_of
from nodes.diffusion.formats.pickle_checks import PARAMETERS, PASSED, CodeRefused, Refused, look_through

DTYPE_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
EXPECTED = re.compile(r"archive/(data\.pkl|version|data/\d+)")
"""Names that AUTOMATIC1111 allows in such a file; it refuses files with others, such as those of torch 2.7 and later."""
EPOCH = (1980, 1, 1, 0, 0, 0)


def pt_bytes(content: object) -> bytes:
    """Return the bytes of a file for `torch.load`, the same for the same content on every machine."""
    saved, written = io.BytesIO(), io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            if EXPECTED.fullmatch(name):
                new.writestr(zipfile.ZipInfo(name, EPOCH), old.read(name))
    return written.getvalue()


def load_pickle(path: Path, *, mapped: bool = False) -> Any:
    """Return the content of a user's file after checking it; `mapped` leaves tensors in the file.

    Raises any error of the unpickler, and CodeRefused for a file that names a function to be called.
    """
    look_through(path)
    with warnings.catch_warnings(), safe_globals([*((_Passed, name) for name in PASSED), (_Parameters, PARAMETERS)]):
        warnings.simplefilter("ignore")  # callers refuse the causes of these warnings
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))


class _Passed:
    """Empty stand-in for globals in a pickle that are no tensors."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Parameters(dict[str, Any]):
    """Stand-in for a ParameterDict in a pickle: its tensors by name."""

    def __setstate__(self, state: Any) -> None:
        self.update(state["_parameters"])


def read_pt(path: Path, kind: str) -> Any:
    """Return the content of a user's file; raise InputError when it is of another format, or holds more than data."""
    try:
        return load_pickle(path)
    except CodeRefused as error:
        remedy = "Get it as safetensors, from someone you trust: nothing in it was executed."
        message = f"{path.name} cannot be read as {kind}: it asks for code to be run."
        raise InputError(message, field="file", remedy=remedy) from error
    except Refused as error:
        message = f"{path.name} cannot be read as {kind}: {error}."
        raise InputError(message, field="file", remedy="Choose another file.") from error
    except Exception as error:  # the unpickler raises what the file makes it raise
        raise InputError(f"{path.name} cannot be read as {kind}.", field="file", remedy="Choose another file.") from error


def pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.ckpt`, mapped into memory; raise InputError for one that holds more than data."""
    return _pickled(path, stamp_of(path))


@lru_cache(maxsize=1)
def _pickled(path: Path, _stamp: Stamp) -> dict[str, Tensor]:
    try:
        content: Any = load_pickle(path, mapped=True)
    except Exception as error:  # the unpickler raises what the file makes it raise
        remedy = "Use the .safetensors file of the same model; a pickle that holds programs is not opened."
        raise InputError(f"{path.name} cannot be read as a checkpoint of tensors alone.", field="model", remedy=remedy) from error
    inner: Any = content.get("state_dict", content) if isinstance(content, dict) else {}
    found = inner.items() if isinstance(inner, dict) else ()
    return {str(name): value.detach() for name, value in found if isinstance(value, Tensor)}
