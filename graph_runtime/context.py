"""The interface between a node and its run."""

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
"""The metadata key of the provenance in a saved file."""


@dataclass(frozen=True)
class Artifact:
    """A finished file in the cache, to be published under `name` in the output folder."""

    name: str
    file: Path
    folder: tuple[tuple[str, Path], ...] = ()
    """All files of a folder by their paths in it, `file` being the first; empty for a single file."""
    caption: str = ""
    """A few words on what a picture shows."""
    group: str = ""
    """Pictures of the same group are meant to be compared."""


@dataclass(frozen=True)
class Sha256:
    """The hexadecimal sha256 of a file, computed while it was written, so that it need not be read again."""

    digest: str


class Reporter(Protocol):
    """Receives the progress of a node."""

    def progress(self, step: int, total: int) -> None: ...
    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None: ...
    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None: ...
    def message(self, text: str, level: Level) -> None: ...


class FileStore(Protocol):
    """Keeps files by content, and remembers per-item results by key."""

    @property
    def spare_bytes(self) -> int:
        """Return the most bytes of a file that is kept only to save time."""
        ...

    def add_file(self, suffix: str, write: Callable[[Path], object]) -> Path: ...
    def find_item(self, key: str) -> Any: ...
    def keep_item(self, key: str, value: object) -> None: ...


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

    def keep_item(self, key: str, value: object) -> None: ...


@dataclass(frozen=True)
class Provenance:
    """The origin of a file: the workflow, by node id a digest of the outside files that it read, and library versions."""

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
    """The result of the node's `fingerprint` in this run."""
    stem: str = ""
    """The node's key without the fields that it `continues`, shared by runs that differ in these alone."""
    progress_folder: Path | None = None
    """The folder in which a resumable node keeps its state; removed when the node finishes. None for other nodes."""
    stop_requested: Callable[[], bool] = lambda: False
    watch: Watch = field(default_factory=Watch)
    """Checks that outside files still have the content that the run was planned with."""

    def locate(self, digest: str) -> Path:
        """Return the path of outside content, which must not change until the node ends.

        Raises ContentChanged when the content has changed, FileNotFoundError when the run's fingerprints did not read it.
        """
        place = self._place(digest)
        self.watch.begin(digest)
        return place

    def open(self, digest: str) -> AbstractContextManager[BufferedReader]:
        """Open an outside file that is read at once, as one of many; raise ContentChanged when its content has changed."""
        return self.watch.opened(digest, self._place(digest))

    def _place(self, digest: str) -> Path:
        try:
            return self.located[digest]
        except KeyError:
            raise FileNotFoundError(f"The file with digest {digest[:12]} is not among this run's inputs.") from None

    def progress(self, step: int, total: int) -> None:
        """Report that `step` of `total` is done; raise Interrupted when a stop was requested."""
        self.watch.glance()
        self.reporter.progress(step, total)
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raise Interrupted when a stop was requested."""
        if self.stop_requested():
            raise Interrupted

    def metric(self, step: int, **values: float) -> None:
        """Report numbers that belong to a step, such as `loss`."""
        self.reporter.metric(step, values)

    def preview(self, step: int, file: Path) -> None:
        """Show a picture that belongs to a step."""
        self.reporter.preview(step, file)

    def message(self, text: str, level: Level = "info") -> None:
        """Show a message about this node."""
        self.reporter.message(text, level)

    def add_file(self, suffix: str, write: Callable[[Path], object]) -> Path:
        """Call `write` with a new file and return its path in the cache, named by content; `write` may return its Sha256."""
        return self.store.add_file(suffix, write)

    def find_item(self, key: str) -> Any:
        """Return what was kept under `key` by any run (JSON values; paths of cache files as Path), or None."""
        return self.store.find_item(key)

    def keep_item(self, key: str, value: object) -> None:
        """Keep a per-item result (JSON values, and Paths of cache files) for every later run."""
        self.watch.check()
        self.store.keep_item(key, value)
