"""The metrics and previews of a resumable node, replayed when a run resumes it or takes its result from the cache."""

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graph_runtime.context import FileStore, Level, Reporter

FILE = "told.jsonl"
MOST = 2_000
"""Most entries with the same names that are kept; of more, evenly spaced ones."""
REPLAYED_METRICS, REPLAYED_PREVIEWS = 200, 50
"""Most metrics and previews that are replayed for a cached result: a run may use hundreds of them."""


class History:
    """A Reporter that forwards to `inner` and logs metrics and previews in the node's progress folder.

    The first of an attempt is preceded by those of earlier steps from earlier attempts, unless they were of this `run`.
    """

    def __init__(self, inner: Reporter, folder: Path, run: str) -> None:
        self._inner = inner
        self._file = folder / FILE
        self._run = run
        self._has_begun = False

    def progress(self, step: int, total: int) -> None:
        self._inner.progress(step, total)

    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._keep({"step": step, "values": finite})
        self._inner.metric(step, values, earlier=earlier)

    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None:
        self._keep({"step": step, "picture": str(file)})
        self._inner.preview(step, file, earlier=earlier)

    def message(self, text: str, level: Level) -> None:
        self._inner.message(text, level)

    def _keep(self, entry: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a history that cannot be written does not stop the node
            if not self._has_begun:
                self._begin(entry["step"])
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def _begin(self, step: int) -> None:
        """Replay the entries before `step`, and drop later ones of earlier attempts."""
        self._has_begun = True
        entries = list(_entries(self._file))
        before = [entry for entry in entries if entry.get("step", step) < step]
        if not (self._run and {"run": self._run} in entries):
            replay(before, self._inner)
        lines = (json.dumps(entry) + "\n" for entry in [{"run": self._run}, *before])
        self._file.write_text("".join(lines), encoding="utf-8")


def keep_for(key: str, folder: Path, store: FileStore) -> None:
    """Keep the history of a finished node under the key of its result."""
    with contextlib.suppress(OSError):
        _keep_for(key, folder, store)


def _keep_for(key: str, folder: Path, store: FileStore) -> None:
    entries = [entry for entry in _entries(folder / FILE) if "step" in entry]
    if not entries:
        return
    pictures = [entry for entry in entries if "picture" in entry and Path(entry["picture"]).is_file()]
    numbers = [entry for entry in entries if "values" in entry]
    text = "".join(json.dumps(entry) + "\n" for entry in _thinned([*numbers, *pictures], MOST, len(pictures)))
    kept = store.add_file(".jsonl", lambda path: path.write_text(text, encoding="utf-8"))
    store.keep_item(_item(key), {"told": kept, "pictures": [Path(entry["picture"]) for entry in pictures]})


def replay_kept(key: str, store: FileStore, reporter: Reporter) -> None:
    """Replay the history kept with a result, thinned to evenly spaced steps."""
    found = store.find_item(_item(key))
    if found:
        with contextlib.suppress(OSError):
            replay(_thinned(_entries(found["told"]), REPLAYED_METRICS, REPLAYED_PREVIEWS), reporter)


def continue_from(key: str, store: FileStore, folder: Path) -> None:
    """Copy the history kept under `key` into `folder`, the progress of a node that continues from that state."""
    if found := store.find_item(_item(key)):
        with contextlib.suppress(OSError):
            runs = [entry for entry in _entries(folder / FILE) if "run" in entry]
            lines = [json.dumps(entry) + "\n" for entry in [*runs, *_entries(found["told"])]]
            (folder / FILE).write_text("".join(lines), encoding="utf-8")


def replay(entries: Iterable[dict[str, Any]], reporter: Reporter) -> None:
    """Report entries again, without pictures that the cache has evicted."""
    for entry in entries:
        if "values" in entry:
            reporter.metric(entry["step"], entry["values"], earlier=True)
        elif "picture" in entry and Path(entry["picture"]).is_file():
            reporter.preview(entry["step"], Path(entry["picture"]), earlier=True)


def _thinned(entries: Iterable[dict[str, Any]], numbers: int, pictures: int) -> list[dict[str, Any]]:
    """Return evenly spaced entries by step: at most `numbers` for each set of metrics, `pictures`, and the last ones."""
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for entry in entries:
        kinds.setdefault(tuple(entry.get("values", ())), []).append(entry)
    chosen: list[dict[str, Any]] = []
    for names, same in kinds.items():
        every = math.ceil(len(same) / max(1, numbers if names else pictures))
        chosen += [entry for place, entry in enumerate(same, 1) if place % every == 1 % every or place == len(same)]
    return sorted(chosen, key=lambda entry: entry["step"])


def _item(key: str) -> str:
    return f"told {key}"


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a file, up to a line that a killed process left half-written."""
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            return
        yield entry
