"""PyTorch's old `.pt` files: written so that other programs take them, opened so that they carry no code."""

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from nodes.diffusion.errors import InputError

EXPECTED = re.compile(r"archive/(data\.pkl|version|data/\d+)")
"""What AUTOMATIC1111 allows in such a file; it refuses one that holds anything more, as those of torch 2.7 and later do."""
EPOCH = (1980, 1, 1, 0, 0, 0)


def pt_bytes(content: object) -> bytes:
    """Return the bytes that `torch.load` reads back; the same for the same content, wherever it is written."""
    saved, written = io.BytesIO(), io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            if EXPECTED.fullmatch(name):
                new.writestr(zipfile.ZipInfo(name, EPOCH), old.read(name))
    return written.getvalue()


def read_pt(path: Path, kind: str) -> Any:
    """Return the content of a file that a person chose; raise InputError when it is no such file, or holds more than data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, the next lines refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises what the file makes it raise
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            remedy = "Get it as safetensors, from someone you trust: nothing in it was executed."
            raise InputError(
                f"{path.name} cannot be read as {kind}: it asks for code to be run.", field="file", remedy=remedy
            ) from error
        raise InputError(f"{path.name} cannot be read as {kind}.", field="file", remedy="Choose another file.") from error
