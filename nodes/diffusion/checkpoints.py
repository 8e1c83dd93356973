"""The state of an unfinished training on the disk."""

import os
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """One file in `folder`, replaced in one step; read back without executing anything from it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "checkpoint.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint: written beside it, flushed to the disk, renamed."""
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, None when there is none or it is damaged."""
        try:
            return torch.load(self._path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError):
            return None
