"""The queue and the history of runs, in one SQLite file that survives restarts."""

import contextlib
import errno
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from graph_runtime import events as ev
from graph_runtime.errors import Problem
from graph_runtime.files import numbered
from graph_runtime.workflow import Workflow, workflow_from_json

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, workflow TEXT NOT NULL, document TEXT NOT NULL, targets TEXT NOT NULL, device TEXT NOT NULL,
    state TEXT NOT NULL, place INTEGER NOT NULL, created REAL NOT NULL, started REAL, finished REAL, folder TEXT,
    problems TEXT NOT NULL DEFAULT '[]', artifacts TEXT NOT NULL DEFAULT '[]', attempts INTEGER NOT NULL DEFAULT 0,
    not_run TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, place);
CREATE INDEX IF NOT EXISTS runs_by_end ON runs (finished);
"""
COLUMNS = """id, workflow, targets, device, state, created, started, finished, folder, problems, artifacts, attempts, not_run,
    CASE state WHEN 'queued' THEN (SELECT count(*) FROM runs q WHERE q.state = 'queued' AND q.place < runs.place) END"""


class Run(BaseModel):
    """A run in the queue or in the history."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    id: str
    workflow: str
    """The name of the workflow."""
    targets: list[str]
    device: str
    state: RunState
    position: int | None
    """The place in the queue, counted from 0; null when it is not queued."""
    created: float
    """Seconds since 1970, as all times here."""
    started: float | None
    finished: float | None
    problems: list[Problem]
    """The reasons of a failure, with the failed nodes."""
    artifacts: list[ev.PublishedArtifact]
    folder: Annotated[str | None, Field(exclude=True)]
    """The name of the run folder; None before there is one. This and the attempts are not sent to pages."""
    attempts: Annotated[int, Field(exclude=True)]
    """The number of attempts since it last stopped in an orderly way."""
    not_run: dict[str, str]
    """Requested nodes that did not run, each with the reason."""


class RunStateError(Exception):
    """The request is impossible in the present state of the run or the server; `remedy` gives an alternative."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def read_document(text: str) -> Workflow:
    """Return a run's document; parsing a large one takes a second."""
    return workflow_from_json(json.loads(text), "the run's workflow")


class RunQueue:
    """Rows of runs; every change is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[Problem] = []
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise RunStateError(f"The queue {path} cannot be opened: {error}.", "Choose another workspace.") from None
            self._db = self._set_aside()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(SCHEMA)
            if "not_run" not in [row[1] for row in db.execute("PRAGMA table_info(runs)")]:  # a file of an earlier version
                db.execute("ALTER TABLE runs ADD COLUMN not_run TEXT NOT NULL DEFAULT '{}'")
            if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("the file is damaged")
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self) -> sqlite3.Connection:
        names = numbered(self._path.with_name(f"{self._path.stem}-damaged{self._path.suffix}"))
        kept = next(path for path in names if not path.exists())
        for suffix in ("-wal", "-shm", ""):  # the write-ahead log may hold runs that the file has not
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").replace(f"{kept}{suffix}")
        message = f"The queue of runs was damaged; it lies in {kept} now, and a new one was begun."
        self.problems.append(Problem(message, remedy="What earlier runs made is still in the output folder."))
        return self._open()

    def add(self, document: Workflow, targets: Sequence[str], device: str) -> str:
        """Put a run at the end of the queue; return its id, which sorts by time."""
        id, now = f"{int(time.time() * 1000):012x}{secrets.token_hex(4)}", time.time()
        with self._transaction():
            place = self._edge("max") + 1
            text, wanted = json.dumps(document.to_json()), json.dumps(list(targets))
            columns = "id, workflow, document, targets, device, place, created, state"
            values = (id, document.name, text, wanted, device, place, now)
            self._db.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued')", values)
        return id

    def take(self, device: str) -> Run | None:
        """Mark the first run that fits a device as running and return it."""
        fits = "state = 'queued' AND device IN (?, 'auto')"
        with self._transaction():
            rows = self._rows(f"SELECT id FROM runs WHERE {fits} ORDER BY place LIMIT 1", device)
            if not rows:
                return None
            change = "UPDATE runs SET state = 'running', started = coalesce(started, ?), attempts = attempts + 1 WHERE id = ?"
            self._db.execute(change, (time.time(), rows[0][0]))
            return self.get(rows[0][0])

    def set_folder(self, id: str, folder: str) -> None:
        """Store the name of a run's folder."""
        with self._transaction():
            self._db.execute("UPDATE runs SET folder = ? WHERE id = ?", (folder, id))

    def move(self, id: str, position: int) -> None:
        """Move a queued run to `position`, or to the end when the queue is shorter."""
        with self._transaction():
            self._need(id, "queued", "Only a run that waits can be moved.")
            order = [row[0] for row in self._rows("SELECT id FROM runs WHERE state = 'queued' ORDER BY place")]
            order.remove(id)
            order.insert(min(max(position, 0), len(order)), id)
            self._db.executemany("UPDATE runs SET place = ? WHERE id = ?", list(enumerate(order)))

    def cancel(self, id: str) -> None:
        """End a queued run."""
        with self._transaction():
            self._need(id, "queued", "Only a run that waits or runs can be cancelled.")
            self._db.execute("UPDATE runs SET state = 'cancelled', finished = ? WHERE id = ?", (time.time(), id))

    def finish(
        self,
        id: str,
        state: RunState,
        problems: Sequence[Problem] = (),
        artifacts: Sequence[ev.PublishedArtifact] = (),
        not_run: Mapping[str, str] = MappingProxyType({}),
        *,
        was: RunState = "running",
    ) -> bool:
        """End a run in state `was`; return False, without a change, when it is in another state."""
        text = json.dumps([problem.to_json() for problem in problems])
        made = json.dumps([artifact.model_dump() for artifact in artifacts])
        change = "UPDATE runs SET state = ?, finished = ?, problems = ?, artifacts = ?, not_run = ? WHERE id = ? AND state = ?"
        values = (state, time.time(), text, made, json.dumps(dict(not_run)), id, was)
        with self._transaction():
            return self._db.execute(change, values).rowcount == 1

    def requeue(self, id: str, *, orderly: bool) -> bool:
        """Put a running run at the front of the queue; with `orderly`, its attempts are counted from zero again."""
        attempts = "0" if orderly else "attempts"
        change = f"UPDATE runs SET state = 'queued', place = ?, attempts = {attempts} WHERE id = ? AND state = 'running'"
        with self._transaction():
            return self._db.execute(change, (self._edge("min") - 1, id)).rowcount == 1

    def remove(self, id: str) -> None:
        """Delete a run that is not running."""
        with self._transaction():
            if self.get(id).state == "running":
                raise RunStateError("The run is not over.", "Cancel it first.")
            self._db.execute("DELETE FROM runs WHERE id = ?", (id,))

    def get(self, id: str) -> Run:
        """Return a run; raise KeyError when there is none."""
        found = self._select("id = ?", id)
        if not found:
            raise KeyError(id)
        return found[0]

    def document(self, id: str) -> Workflow:
        """Return a run's document; raise KeyError when there is no such run."""
        return read_document(self.document_text(id))

    def document_text(self, id: str) -> str:
        """Return a run's document as stored JSON, for `read_document`; raise KeyError when there is no such run."""
        rows = self._rows("SELECT document FROM runs WHERE id = ?", id)
        if not rows:
            raise KeyError(id)
        return rows[0][0]

    def running(self) -> list[Run]:
        """Return the running runs, oldest start first."""
        return self._select("state = 'running' ORDER BY started")

    def waiting(self) -> list[Run]:
        """Return the queued runs in order."""
        return self._select("state = 'queued' ORDER BY place")

    def history(self, before: float | None, limit: int) -> list[Run]:
        """Return finished runs, newest end first; with `before`, only those that ended earlier."""
        ended = "state NOT IN ('queued', 'running') AND finished < ? ORDER BY finished DESC, id DESC LIMIT ?"
        return self._select(ended, 1e18 if before is None else before, limit)

    def close(self) -> None:
        self._db.close()

    def _select(self, condition: str, *values: Any) -> list[Run]:
        return [_run_of(row) for row in self._rows(f"SELECT {COLUMNS} FROM runs WHERE {condition}", *values)]

    def _rows(self, query: str, *values: Any) -> list[Sequence[Any]]:
        with self._trouble():
            return self._db.execute(query, values).fetchall()

    def _need(self, id: str, state: RunState, otherwise: str) -> None:
        found = self.get(id).state
        if found != state:
            raise RunStateError(f"The run is {found}.", otherwise)

    def _edge(self, function: str) -> int:
        return self._rows(f"SELECT coalesce({function}(place), 0) FROM runs WHERE state = 'queued'")[0][0]

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        """Commit all or nothing."""
        with self._trouble():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _trouble(self) -> Generator[None]:
        """Raise OSError when the disk is full or fails."""
        try:
            yield
        except sqlite3.OperationalError as error:
            number = errno.ENOSPC if "full" in str(error) else errno.EIO
            raise OSError(number, f"{os.strerror(number)} ({error})", str(self._path)) from error


def _run_of(row: Sequence[Any]) -> Run:
    id, workflow, targets, device, state, created, started, finished, folder, problems, artifacts, *rest = row
    attempts, not_run, position = rest
    return Run(
        id=id,
        workflow=workflow,
        targets=json.loads(targets),
        device=device,
        state=state,
        position=position,
        created=created,
        started=started,
        finished=finished,
        problems=[Problem(**problem) for problem in json.loads(problems)],
        artifacts=[ev.PublishedArtifact(**artifact) for artifact in json.loads(artifacts)],
        folder=folder,
        attempts=attempts,
        not_run=json.loads(not_run),
    )
