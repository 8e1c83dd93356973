"""The time and memory of a training, stored beside its result, which must not depend on it."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from graph_runtime.context import RunContext
from graph_runtime.files import write_atomic

if TYPE_CHECKING:
    from torch import device

EVERY_SECONDS = 10.0
"""Seconds between two savings of the time spent, for a training that is killed and resumed."""


class Costs:
    """Seconds of training steps and the most memory in use at the end of one, over all attempts."""

    def __init__(self, method: str, steps: int, folder: Path | None, device: "device") -> None:
        self.method, self.steps = method, steps
        self.device = device
        self.seconds, self.peak_memory = 0.0, 0
        self._file = folder / "costs.json" if folder else None
        if self._file and self._file.exists():
            self.seconds, self.peak_memory = json.loads(self._file.read_text())
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        self._since = self._written = time.monotonic()

    def add(self, seconds: float, peak_memory: int) -> None:
        """Count in what the first steps have cost in another training."""
        self.seconds, self.peak_memory = self.seconds + seconds, max(self.peak_memory, peak_memory)
        self._write()

    def after_step(self) -> None:
        """Count the time since the step before."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        self.peak_memory = max(self.peak_memory, _memory(self.device))
        if self._file and now - self._written > EVERY_SECONDS:
            self._written = now
            self._write()

    def _write(self) -> None:
        if self._file:
            write_atomic(self._file, json.dumps([self.seconds, self.peak_memory]).encode())

    def resume(self) -> None:
        """Start the clock again after what only watches."""
        self._since = time.monotonic()

    def keep(self, results: Iterable[Path | None], context: RunContext) -> None:
        """Keep the costs under the names of the files that were trained."""
        costs = {
            "method": self.method,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "peak_memory": self.peak_memory,
        }
        for file in filter(None, results):
            context.keep_item(f"costs:{file.name}", costs)


def _memory(device: "device") -> int:
    """Bytes in use: of the whole process on a CPU, of tensors on a GPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss
