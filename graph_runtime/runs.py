"""Run folders: workflow, log, previews and artifacts of a run."""

import contextlib
import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from graph_runtime import events as ev
from graph_runtime.context import Artifact
from graph_runtime.files import copy_or_share, numbered, place, same_content, write_atomic
from graph_runtime.locks import FileLock
from graph_runtime.reading import digest_file
from graph_runtime.staging import staging, sweep
from graph_runtime.workflow import Workflow, save_workflow

EVENTS, LOCK = "events.jsonl", "events.lock"
METRICS = ("loss", "learning_rate", "validation_loss", "fixed_noise_loss", "recall_at_1", "psnr")
"""The columns of `loss.csv`: metrics that trainings report."""


class RunFolder:
    """The folder `OUTPUT/runs/TIME-NAME/` with workflow, events, loss, versions, previews and artifacts."""

    def __init__(
        self,
        output: Path,
        workflow: Workflow,
        versions: Mapping[str, str],
        *,
        earlier: str | None = None,
        first: int = 0,
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a new folder, or continue in an `earlier` one; `waiting` is called while another process writes there.

        The next event gets the `seq` `first`, or a larger one if the log has more events.
        """
        self.output = output
        known = earlier is not None and (output / "runs" / earlier).is_dir()
        self.folder = output / "runs" / earlier if known and earlier else _new_folder(output / "runs", workflow.name)
        sweep(output)
        _sweep_locks(output / "runs")
        self._lock = _locked(self.folder / LOCK, waiting)
        for part in ("previews", "artifacts"):
            (self.folder / part).mkdir(exist_ok=True)
        save_workflow(workflow, self.folder / "workflow.json")
        write_atomic(self.folder / "versions.json", _json_bytes(dict(versions)))
        self.next_seq = filled_lines(self.folder / EVENTS, first if known else 0)
        losses = whole_lines(self.folder / "loss.csv")
        self._events = (self.folder / EVENTS).open("a", encoding="utf-8")
        self._loss = (self.folder / "loss.csv").open("a", encoding="utf-8", newline="")
        self._rows = csv.writer(self._loss)
        if not losses:
            self._rows.writerow(("node", "step", *METRICS))
        self._unwritten: OSError | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    def listen(self, event: ev.Event) -> None:
        """Append an event to the log, and a loss to the table; a log that cannot be written does not stop the run."""
        if self._unwritten is None:
            try:
                self._write(event)
            except OSError as error:
                self._unwritten = error

    def _write(self, event: ev.Event) -> None:
        self._events.write(event.model_dump_json() + "\n")
        if isinstance(event, ev.NodeMetric) and not event.values.keys().isdisjoint(METRICS):
            self._rows.writerow((event.node, event.step, *(event.values.get(name, "") for name in METRICS)))
            self._loss.flush()
        self._events.flush()  # a listener may at once ask for the log up to this event

    def keep_preview(self, node: str, step: int, file: Path) -> str:
        """Keep a preview picture; return its path below the run folder."""
        path = self.folder / "previews" / f"{node}-{step:06d}{file.suffix}"
        shutil.copyfile(file, path)
        return path.relative_to(self.folder).as_posix()

    def keep_traceback(self, node: str, text: str) -> None:
        """Append a traceback to `errors.txt`."""
        with contextlib.suppress(OSError), (self.folder / "errors.txt").open("a", encoding="utf-8") as file:
            file.write(f"{node}\n{text}\n")

    def publish(self, artifact: Artifact, node: str, digest_of: Callable[[Path], str] = digest_file) -> ev.PublishedArtifact:
        """Put an artifact into the output folder, never over a different file: the next free number is added to its name.

        `digest_of` returns the sha256 of a file in the cache.
        """
        if artifact.folder:
            return self._publish_folder(artifact, node)
        digest = digest_of(artifact.file)
        path = next(path for path in numbered(self.output / artifact.name) if _claimed(path, artifact.file))
        kept = self.folder / "artifacts" / path.name
        if not _holds(kept, artifact.file):
            kept.unlink(missing_ok=True)  # of an earlier attempt, whose file in the output folder is gone
            place(path, kept)
        about = {"caption": artifact.caption, "group": artifact.group}
        return ev.PublishedArtifact(path=str(path), sha256=digest, bytes=path.stat().st_size, node=node, **about)

    def _publish_folder(self, artifact: Artifact, node: str) -> ev.PublishedArtifact:
        """Publish a folder in one step, under one name; return its first file."""
        digests = [(name, digest_file(file)) for name, file in artifact.folder]
        whole = hashlib.sha256(_json_bytes(dict(digests))).hexdigest()
        with staging(self.output) as temporary:
            made = temporary / artifact.name
            for name, file in artifact.folder:
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, made / name)
            path = next(path for path in numbered(self.output / artifact.name) if _claimed_folder(path, made))
        size = sum(file.stat().st_size for _, file in artifact.folder)
        return ev.PublishedArtifact(path=str(path / artifact.folder[0][0]), sha256=whole, bytes=size, node=node)

    def close(self) -> None:
        """Close the log; raise OSError when it could not be written to the end."""
        for file in (self._events, self._loss):
            try:
                file.close()
            except OSError as error:
                self._unwritten = self._unwritten or error
        self._lock.remove()
        if self._unwritten:
            raise OSError(self._unwritten.errno, self._unwritten.strerror, str(self.folder))


def whole_lines(path: Path) -> int:
    """Return the number of lines of a log, after cutting off a last one that a killed process left half-written."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        lines = end = 0
        for line in file:
            if line.endswith(b"\n"):
                lines, end = lines + 1, end + len(line)
        file.truncate(end)
    return lines


def filled_lines(path: Path, count: int) -> int:
    """Return `whole_lines`, after padding a log to `count` with empty lines for events lost on a full disk."""
    lines = whole_lines(path)
    if lines < count:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * (count - lines))
    return max(lines, count)


def _locked(path: Path, waiting: Callable[[], object]) -> FileLock:
    lock = FileLock(path)
    while not lock.acquire():
        waiting()
        time.sleep(0.2)
    return lock


def _sweep_locks(runs: Path) -> None:
    """Remove locks of killed runs."""
    for path in runs.glob(f"*/{LOCK}"):
        with contextlib.suppress(OSError):  # the holder was faster
            lock = FileLock(path)
            if lock.acquire():
                lock.remove()


def _new_folder(runs: Path, name: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:60]
    for path in numbered(runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{safe}"):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")


def _claimed(path: Path, source: Path) -> bool:
    """Put `source` at `path` unless another file is there; return whether `path` now has its content."""
    try:
        _copy(source, path)
    except FileExistsError:
        return _holds(path, source)
    return True


def _holds(path: Path, source: Path) -> bool:
    return path.is_file() and same_content(path, source)


def _copy(source: Path, target: Path) -> None:
    """Copy to a path that must be free, in one step, even when another process claims it at the same moment."""
    try:
        with staging(target.parent) as folder:
            temporary = folder / "file"
            copy_or_share(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            place(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _claimed_folder(path: Path, made: Path) -> bool:
    """Move `made` to `path` unless another folder is there; return whether `path` now has its content."""
    if path.exists():
        files = [file.relative_to(made) for file in made.rglob("*") if file.is_file()]
        return path.is_dir() and all(_holds(path / name, made / name) for name in files)
    try:
        made.rename(path)
    except OSError:
        if path.exists():  # another process was faster
            return False
        raise
    return True
