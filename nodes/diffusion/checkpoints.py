"""The state of an unfinished training on the disk."""

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

SEAL = 32
"""Bytes of the sha256 in front of the content."""


class Checkpoint:
    """One file in `folder`, replaced in one step; read back without executing anything from it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "checkpoint.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint: written beside it, flushed to the disk, renamed."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(hashlib.sha256(buffer.getbuffer()).digest())
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, None when there is none or a single byte of it has changed."""
        try:
            content = self._path.read_bytes()
            if hashlib.sha256(content[SEAL:]).digest() != content[:SEAL]:
                return None
            return torch.load(io.BytesIO(content[SEAL:]), map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
            return None
