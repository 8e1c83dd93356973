"""What a long node has told of its steps: told again in the run that goes on with it, or takes its result from the cache."""

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graph_runtime.context import FileStore, Level, Reporter

FILE = "told.jsonl"
MOST = 2_000
"""So many entries with the same names are kept; of more, evenly chosen ones."""
TOLD, SHOWN = 200, 50
"""So many of them, and so many pictures, are told of a result from the cache: a run may take hundreds of such."""


class History:
    """Passes reports on and keeps those that belong to steps, in the folder of the node's progress.

    At the first one of an attempt, what earlier attempts told of the steps before is told again, unless this `run` heard it.
    """

    def __init__(self, inner: Reporter, folder: Path, run: str) -> None:
        self._inner = inner
        self._file = folder / FILE
        self._run = run
        self._is_told = False

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
            if not self._is_told:
                self._begin(entry["step"])
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def _begin(self, step: int) -> None:
        """Tell what came before `step`, and forget what earlier attempts told of later ones."""
        self._is_told = True
        entries = list(_entries(self._file))
        before = [entry for entry in entries if entry.get("step", step) < step]
        if not (self._run and {"run": self._run} in entries):
            tell(before, self._inner)
        lines = (json.dumps(entry) + "\n" for entry in [{"run": self._run}, *before])
        self._file.write_text("".join(lines), encoding="utf-8")


def keep_for(key: str, folder: Path, store: FileStore) -> None:
    """Keep the history of a node that has its result, under the result's key."""
    with contextlib.suppress(OSError):
        _keep_for(key, folder, store)


def _keep_for(key: str, folder: Path, store: FileStore) -> None:
    entries = [entry for entry in _entries(folder / FILE) if "step" in entry]
    if not entries:
        return
    pictures = [entry for entry in entries if "picture" in entry and Path(entry["picture"]).is_file()]
    numbers = [entry for entry in entries if "values" in entry]
    text = "".join(json.dumps(entry) + "\n" for entry in _thinned([*numbers, *pictures], MOST, len(pictures)))
    told = store.add_file(".jsonl", lambda path: path.write_text(text, encoding="utf-8"))
    store.keep_item(_item(key), {"told": told, "pictures": [Path(entry["picture"]) for entry in pictures]})


def tell_of(key: str, store: FileStore, reporter: Reporter) -> None:
    """Tell what was kept with a result, of long histories evenly chosen steps."""
    found = store.find_item(_item(key))
    if found:
        with contextlib.suppress(OSError):
            tell(_thinned(_entries(found["told"]), TOLD, SHOWN), reporter)


def take_up(key: str, store: FileStore, folder: Path) -> None:
    """Let the node whose progress lies in `folder` go on from a state whose history was kept under `key`."""
    if found := store.find_item(_item(key)):
        with contextlib.suppress(OSError):
            heard = [entry for entry in _entries(folder / FILE) if "run" in entry]
            lines = [json.dumps(entry) + "\n" for entry in [*heard, *_entries(found["told"])]]
            (folder / FILE).write_text("".join(lines), encoding="utf-8")


def tell(entries: Iterable[dict[str, Any]], reporter: Reporter) -> None:
    """Report entries again; a picture that the cache has given up is left out."""
    for entry in entries:
        if "values" in entry:
            reporter.metric(entry["step"], entry["values"], earlier=True)
        elif "picture" in entry and Path(entry["picture"]).is_file():
            reporter.preview(entry["step"], Path(entry["picture"]), earlier=True)


def _thinned(entries: Iterable[dict[str, Any]], numbers: int, pictures: int) -> list[dict[str, Any]]:
    """Return, by step, so many evenly chosen entries with the same names of numbers, so many pictures, and the last of each."""
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
    """Yield what a file holds, up to a line that a killed process left half-written."""
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            return
        yield entry
