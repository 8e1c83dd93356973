"""The index of the disk tier: small values and file digests in one SQLite file."""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from graph_runtime.errors import DamagedCache
from graph_runtime.locks import FileLock

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, seal BLOB NOT NULL, bytes INTEGER NOT NULL, last_used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (last_used);
CREATE TABLE IF NOT EXISTS texts (key TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""
LARGE = 800
"""Longer texts are stored in `texts`, and as an empty text in `entries`: a search reads whole rows, and those longer than a
quarter of SQLite's page in several pieces."""
VERSION = 1
MOVE = f"""
INSERT OR REPLACE INTO texts SELECT key, text FROM entries WHERE length(text) > {LARGE};
UPDATE entries SET text = '' WHERE length(text) > {LARGE};
PRAGMA user_version = {VERSION};
"""
TEXT = "CASE text WHEN '' THEN (SELECT text FROM texts WHERE texts.key = entries.key) ELSE text END"


class Found(NamedTuple):
    """The text of a stored value and the time of its last use."""

    text: str
    last_used: float


class Entry(NamedTuple):
    """One stored value: JSON text, and the bytes of the files it needs."""

    key: str
    text: str
    bytes: int


def seal(key: str, text: str) -> bytes:
    """Return a checksum that a damaged row does not match."""
    return blake2b(f"{key}\0{text}".encode(), digest_size=16).digest()


@contextlib.contextmanager
def _alone(path: Path) -> Generator[None]:
    lock = FileLock(path)
    while not lock.acquire():
        time.sleep(0.01)
    try:
        yield
    finally:
        lock.release()


class Index:
    """Rows of the disk tier, shared safely by several processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise DamagedCache(f"The cache index {path} cannot be opened: {error}.") from None
            self._set_aside()

    def _set_aside(self) -> None:
        """Move a damaged index aside and begin a new one; the files stay, but their keys are lost."""
        if hasattr(self, "_db"):
            self._db.close()
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._path.replace(self._path.with_suffix(".damaged"))
        self._db = self._open()

    def _row(self, query: str, *values: str) -> tuple[Any, ...] | None:
        try:
            return self._db.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise DamagedCache(f"The cache index {self._path} cannot be read: {error}.") from None
            self._set_aside()
            return None

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        with _alone(self._path.with_suffix(".lock")):  # SQLite does not wait for others when it changes the journal mode
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(SCHEMA)
            if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
                db.executescript(f"BEGIN IMMEDIATE; {MOVE} COMMIT;")
        return db

    def get(self, key: str) -> Found | None:
        """Return the text stored under `key`; a damaged row counts as absent."""
        row = self._row(f"SELECT {TEXT}, seal, last_used FROM entries WHERE key = ?", key)
        if not row or not row[0] or row[1] != seal(key, row[0]):
            return None
        return Found(row[0], row[2])

    def mark(self, key: str) -> bool:
        """Mark an entry as used; False when it has been evicted meanwhile."""
        try:
            with self._transaction():
                return self._db.execute("UPDATE entries SET last_used = ? WHERE key = ?", (time.time(), key)).rowcount > 0
        except OSError:  # a full disk does not prevent reading
            return True

    def write(self, entries: Iterable[Entry], used: Iterable[str]) -> None:
        """Store entries and mark others as used, in one transaction."""
        now = time.time()
        with self._transaction():
            for e in entries:
                large = len(e.text) > LARGE
                row = (e.key, "" if large else e.text, seal(e.key, e.text), e.bytes + len(e.text), now)
                self._db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)
                self._db.execute("DELETE FROM texts WHERE key = ?", (e.key,))
                if large:
                    self._db.execute("INSERT INTO texts VALUES (?, ?)", (e.key, e.text))
            self._db.executemany("UPDATE entries SET last_used = ? WHERE key = ?", [(now, key) for key in used])

    def oldest_first(self) -> Iterator[tuple[str, str, float]]:
        """Yield (key, text, last use), least recently used first."""
        yield from self._db.execute(f"SELECT key, coalesce({TEXT}, ''), last_used FROM entries ORDER BY last_used")

    def delete(self, keys: Iterable[str], before: float) -> None:
        """Evict entries, but none that has been used since `before`."""
        with self._transaction():
            for key in keys:
                if self._db.execute("DELETE FROM entries WHERE key = ? AND last_used < ?", (key, before)).rowcount:
                    self._db.execute("DELETE FROM texts WHERE key = ?", (key,))

    def total(self) -> tuple[int, int]:
        """Return the number of entries and at most how many bytes they fill; a shared file counts for each of them."""
        count, size = self._db.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM entries").fetchone()
        return count, size

    def digest(self, path: str, stamp: str) -> str | None:
        """Return the remembered digest of a file that still has this stamp."""
        row = self._row("SELECT digest FROM digests WHERE path = ? AND stamp = ?", path, stamp)
        return row[0] if row else None

    def remember_digests(self, rows: Iterable[tuple[str, str, str]]) -> None:
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        """Commit all or nothing; raise OSError when the disk is full."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                number = errno.ENOSPC if "full" in str(error) else errno.EIO
                raise OSError(number, f"{os.strerror(number)} ({error})", str(self._path)) from error
            raise
