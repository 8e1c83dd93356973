"""What a node may ask of the run it is part of."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, Protocol

from graph_runtime.errors import Interrupted
from graph_runtime.outside import Watch

Level = Literal["info", "warning"]
METADATA_KEY = "latentloom"
"""Under this name a saved file carries its provenance."""


@dataclass(frozen=True)
class Artifact:
    """A finished file, waiting in the cache to be published under `name` in the output folder."""

    name: str
    file: Path
    folder: tuple[tuple[str, Path], ...] = ()
    """When it is a folder: all its files by their paths in it, `file` being the first."""
    caption: str = ""
    """What a picture shows, in a few words."""
    group: str = ""
    """Pictures of the same group are meant to be compared."""


@dataclass(frozen=True)
class Sha256:
    """The hexadecimal sha256 of a file, as who wrote it took it on the way: nobody has to read it again."""

    digest: str


class Reporter(Protocol):
    """Where a node's progress goes."""

    def progress(self, step: int, total: int) -> None: ...
    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None: ...
    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None: ...
    def message(self, text: str, level: Level) -> None: ...


class FileStore(Protocol):
    """Keeps files by content, and remembers per-item results by key."""

    @property
    def spare_bytes(self) -> int:
        """What a file may weigh that is kept only because it could save time."""
        ...

    def add_file(self, suffix: str, write: Callable[[Path], object]) -> Path: ...
    def find_item(self, key: str) -> Any: ...
    def keep_item(self, key: str, value: Any) -> None: ...


class SilentReporter:
    """Discards progress."""

    def progress(self, step: int, total: int) -> None: ...
    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None: ...
    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None: ...
    def message(self, text: str, level: Level) -> None: ...


class PlainFolder:
    """A file store without memory: every file is new, every item is unknown."""

    spare_bytes = 0

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="latentloom-"))

    def add_file(self, suffix: str, write: Callable[[Path], object]) -> Path:
        path = self._folder / f"{len(list(self._folder.iterdir())):06d}{suffix}"
        write(path)
        return path

    def find_item(self, key: str) -> Any:
        return None

    def keep_item(self, key: str, value: Any) -> None: ...


@dataclass(frozen=True)
class Provenance:
    """What made a file: the workflow, one digest of what each node read from outside, by node id, and library versions."""

    workflow: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    def text(self) -> str:
        """Return the JSON that a saved file carries under `latentloom`, the same for the same content."""
        carried = {"workflow": self.workflow, "inputs": self.inputs, "versions": self.versions}
        return json.dumps(carried, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass
class RunContext:
    """A node's view of its run; `RunContext()` alone serves notebooks and tests."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""
    reporter: Reporter = field(default_factory=SilentReporter)
    store: FileStore = field(default_factory=PlainFolder)
    located: Mapping[str, Path] = field(default_factory=dict[str, Path])
    provenance: Provenance = field(default_factory=Provenance)
    fingerprint: Any = None
    """What the node's `fingerprint` returned in this run."""
    stem: str = ""
    """The node's key without the fields that it `continues`: what is kept under it is of runs that differ in these alone."""
    progress_folder: Path | None = None
    """Where a long node keeps what it needs to go on after a crash; emptied when the node finishes. None: nowhere."""
    stop_requested: Callable[[], bool] = lambda: False
    watch: Watch = field(default_factory=Watch)
    """Sees to it that what is read from outside is what the run was planned with."""

    def locate(self, digest: str) -> Path:
        """Return where outside content lies now, which nobody may change until the node ends.

        Raises ContentChanged when it is another content now, FileNotFoundError when this run has not seen it.
        """
        place = self._place(digest)
        self.watch.begin(digest)
        return place

    def open(self, digest: str) -> AbstractContextManager[BufferedReader]:
        """Open an outside file that is read at once; raise ContentChanged when it is another one now. For many small ones."""
        return self.watch.opened(digest, self._place(digest))

    def _place(self, digest: str) -> Path:
        try:
            return self.located[digest]
        except KeyError:
            raise FileNotFoundError(f"The file with digest {digest[:12]} is not among this run's inputs.") from None

    def progress(self, step: int, total: int) -> None:
        """Report that `step` of `total` is done; raise Interrupted when the person asked to stop."""
        self.watch.glance()
        self.reporter.progress(step, total)
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raise Interrupted when the person asked to stop."""
        if self.stop_requested():
            raise Interrupted

    def metric(self, step: int, **values: float) -> None:
        """Report numbers that belong to a step, such as `loss`."""
        self.reporter.metric(step, values)

    def preview(self, step: int, file: Path) -> None:
        """Show a picture that belongs to a step."""
        self.reporter.preview(step, file)

    def message(self, text: str, level: Level = "info") -> None:
        """Tell the person something about this node."""
        self.reporter.message(text, level)

    def add_file(self, suffix: str, write: Callable[[Path], object]) -> Path:
        """Let `write` fill a new file and return its place in the cache, named by content; it may return its Sha256."""
        return self.store.add_file(suffix, write)

    def find_item(self, key: str) -> Any:
        """Return what was kept under `key` by any run (JSON values; paths of cache files as Path), or None."""
        return self.store.find_item(key)

    def keep_item(self, key: str, value: Any) -> None:
        """Keep a per-item result (JSON values, and Paths of cache files) for every later run."""
        self.watch.check()
        self.store.keep_item(key, value)
