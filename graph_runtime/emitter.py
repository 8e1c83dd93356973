"""Numbering of events and throttling of progress."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from graph_runtime import events as ev
from graph_runtime.context import Level

PROGRESS_SECONDS = 0.1
Listener = Callable[[ev.Event], object]


class Emitter:
    """The events of one run, in order; of a node's progress only the newest within a tenth of a second goes out."""

    def __init__(self, *listeners: Listener, first: int = 0) -> None:
        self._listeners = listeners
        self._seq = first
        self.goes_on = first > 0
        """True when the run has events from an earlier attempt."""

    def emit(self, event: ev.Event) -> None:
        """Number an event and send it to every listener."""
        event.seq = self._seq
        self._seq += 1
        for listener in self._listeners:
            listener(event)


class NodeReporter:
    """Turns the reports of a node into events."""

    def __init__(self, emitter: Emitter, node: str, keep_preview: Callable[[str, int, Path], str]) -> None:
        self._emitter = emitter
        self._node = node
        self._keep_preview = keep_preview
        self._sent = -math.inf

    def progress(self, step: int, total: int) -> None:
        now = time.monotonic()
        if step >= total or now - self._sent >= PROGRESS_SECONDS:
            self._sent = now
            self._emitter.emit(ev.NodeProgress(node=self._node, step=step, total=total))

    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no others
        self._emitter.emit(ev.NodeMetric(node=self._node, step=step, values=finite, earlier=earlier))

    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None:
        path = self._keep_preview(self._node, step, file)
        self._emitter.emit(ev.NodePreview(node=self._node, step=step, path=path, earlier=earlier))

    def message(self, text: str, level: Level) -> None:
        self._emitter.emit(ev.NodeMessage(node=self._node, level=level, text=text))
