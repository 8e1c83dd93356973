"""The state of an unfinished training on the disk."""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class TrainingState:
    """One file in `folder`, named by the sha256 of its content and replaced atomically; no code in it is executed.

    Without one, a training begins at the state that `earlier` holds, if any; `keep` is given the state that it ends with,
    and `resumed` the number of steps that an interrupted training had made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        earlier: Path | None = None,
        keep: Callable[[dict[str, Any]], object] | None = None,
        resumed: Callable[[int], object] | None = None,
    ) -> None:
        self._folder, self._earlier, self._keep, self._resumed = folder, earlier, keep, resumed

    def begun(self) -> bool:
        """Return whether a training was interrupted here."""
        return bool(self._files())

    def is_new(self) -> bool:
        """Return whether a training begins at its first step here."""
        return not self._earlier and not self.begun()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint: write beside it, flush to the disk, rename; no second copy is in memory."""
        temporary = self._folder / "checkpoint.new"
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            kept = self._folder / f"checkpoint-{_digest(temporary)}.pt"
            older = [path for path in self._files() if path != kept]
            os.replace(temporary, kept)
            for path in older:
                path.unlink(missing_ok=True)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state; None when there is none or it is damaged."""
        for path in self._files():
            try:
                if _digest(path) != path.stem.removeprefix("checkpoint-"):
                    continue
                state = _read(path)
            except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
                continue
            if self._resumed:
                self._resumed(int(state["step"]))
            return state
        return _read(self._earlier) if self._earlier else None

    def finish(self, state: Callable[[], dict[str, Any]]) -> None:
        """Pass the state after the last step to `keep`."""
        if self._keep:
            self._keep(state())

    def _files(self) -> list[Path]:
        """Return the files, newest first: a process killed between writing and removing leaves two."""
        return sorted(self._folder.glob("checkpoint-*.pt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def bytes_of(state: object) -> int:
    """Return the bytes of all tensors in a state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(bytes_of(value) for value in values)


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
