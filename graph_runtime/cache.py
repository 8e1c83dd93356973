"""Memory tier and disk tier: content-addressed files, values by key, atomic, size-capped, safe for several processes."""

import math
import os
import shutil
import tempfile
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graph_runtime import codec
from graph_runtime.context import Sha256
from graph_runtime.errors import DamagedCache
from graph_runtime.index import Entry, Index
from graph_runtime.locks import FileLock
from graph_runtime.pins import Pins
from graph_runtime.reading import NotRegular, digest_file, is_settled, stamp_of

MISS = object()
"""Returned by `get` for what the cache does not hold."""
MEMORY_BYTES = 64 * 2**20
FLUSH_SECONDS = 0.05
ABANDONED_SECONDS = 14 * 86400
DEFAULT_MAX_BYTES = 20 * 2**30


class Cache:
    """Results by key. A key holds everything that a result depends on, so an entry never goes stale."""

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.folder = folder.resolve()
        self.max_bytes = max_bytes
        try:
            for part in ("files", "temporary", "progress", "sessions"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            self._session = self._begin_session()
            self._begun = self._session.path.stat().st_mtime
        except OSError as error:
            raise DamagedCache(f"The cache folder {folder} cannot be used: {error.strerror}.") from None
        self._index = Index(self.folder / "index.sqlite")
        self._memory: OrderedDict[str, tuple[Any, str]] = OrderedDict()
        self._memory_bytes = 0
        self._pending: dict[str, Entry] = {}
        self._used: set[str] = set()
        self._digests: dict[tuple[str, str], str] = {}
        self._verified: dict[str, tuple[int, int]] = {}
        self._flushed = time.monotonic()
        self._sweep_temporary(self._oldest_session())
        self._pins = Pins(self.folder, self._session.path)
        self._sweep_locks()

    @property
    def spare_bytes(self) -> int:
        """Return the most bytes of a file that is kept only to save time, so that it does not evict everything else."""
        return self.max_bytes // 4

    def get(self, key: str, kind: object = Any) -> Any:
        """Return the value of type `kind` under `key`, or MISS; a damaged entry counts as a miss."""
        value, text = self._memory.get(key, (MISS, None))
        if text is not None and all(map(self._sound, codec.files_in(text))):
            self._memory.move_to_end(key)
            return value
        pending = self._pending.get(key)
        text = pending.text if pending else self._look_up(key)
        if text is None or not all(map(self._sound, codec.files_in(text))):
            return MISS
        try:
            value = codec.decode(text, kind, self._path_of)
        except ValueError:
            return MISS
        self._used.add(key)
        self._remember(key, value, text)
        return value

    def _look_up(self, key: str) -> str | None:
        """Return the text under a key, and pin it, so that no process evicts it until this one ends."""
        found = self._index.get(key)
        if found and found.last_used < self._begun and key not in self._pins:
            if self._pins.add(key):
                found = self._index.get(key)  # it may have been evicted before it was pinned
            elif not self._index.mark(key):
                return None
        return found.text if found else None

    def put(self, key: str, value: object) -> None:
        """Keep a value; one without a JSON form is not kept."""
        try:
            text = codec.encode(value, self._name_of)
        except codec.NotStorable:
            return
        self._pending[key] = Entry(key, text, sum(self._path_of(name).stat().st_size for name in codec.files_in(text)))
        self._remember(key, value, text)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def find_item(self, key: str) -> Any:
        """Return the per-item value under `key`, or None."""
        found = self.get(f"item:{key}")
        return None if found is MISS else found

    def keep_item(self, key: str, value: object) -> None:
        self.put(f"item:{key}", value)

    def add_file(self, suffix: str, write: Callable[[Path], object]) -> Path:
        """Call `write` with a new file and move it to the path named by its digest (the Sha256 that `write` returns, if any)."""
        handle, name = tempfile.mkstemp(dir=self.folder / "temporary", suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            made = write(temporary)
            digest = made.digest if isinstance(made, Sha256) else digest_file(temporary)
            place = self._path_of(digest + suffix)
            place.parent.mkdir(exist_ok=True)
            temporary.chmod(0o644)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)
        self._verified[place.name] = _stamp(place)
        return place

    def digest_of(self, file: Path) -> str:
        """Return the sha256 of a file; a store file that this process made or checked has it in its name."""
        known = file.parent.parent == self.folder / "files" and self._verified.get(file.name) == _stamp(file)
        return file.name.split(".", 1)[0] if known else digest_file(file)

    def digest(self, file: Path) -> str:
        """Return the sha256 of an outside file; it is read again only when size, times or inode have changed."""
        stamp = stamp_of(file)
        settled, text = is_settled(stamp), f"{stamp.size} {stamp.modified} {stamp.changed} {stamp.inode}"
        known = self._digests.get((str(file), text)) or self._index.digest(str(file), text)
        if known is None:
            known = digest_file(file)
            if settled:
                self._digests[str(file), text] = known
        return known

    @contextmanager
    def progress_folder(self, key: str, waiting: Callable[[], object]) -> Generator[Path]:
        """Hold the folder in which a long node keeps its progress; `waiting` is called while another process has it."""
        lock = FileLock(self.folder / "progress" / f"{key}.lock")
        while not lock.acquire():
            waiting()
            time.sleep(0.2)
        try:
            folder = self.folder / "progress" / key
            folder.mkdir(exist_ok=True)
            yield folder
        finally:
            _done_with(lock, self.folder / "progress" / key)

    def forget_progress(self, key: str) -> None:
        """Drop the progress of a node that has its result."""
        shutil.rmtree(self.folder / "progress" / key, ignore_errors=True)

    def flush(self) -> None:
        """Write everything to the disk tier."""
        if self._pending or self._used:
            self._index.write(self._pending.values(), self._used)
            self._pending.clear()
            self._used.clear()
        if self._digests:
            self._index.remember_digests((*place, digest) for place, digest in self._digests.items())
            self._digests.clear()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush, bring the size under the cap, and release the folder."""
        self.flush()
        if self._index.total()[1] > self.max_bytes:
            self.prune(self.max_bytes)
        self._index.close()
        self._pins.remove()
        self._session.remove()

    def info(self) -> dict[str, Any]:
        """Return folder, entries, bytes and cap."""
        self.flush()
        entries, _ = self._index.total()
        return {"folder": str(self.folder), "entries": entries, "bytes": self._disk_bytes(), "max_bytes": self.max_bytes}

    def prune(self, max_bytes: int) -> int:
        """Evict the least recently used entries until `max_bytes` are left, but none that a living process has used.

        Returns the bytes freed.
        """
        self.flush()
        with self._pins.evicting():
            return self._evict(max_bytes)

    def _evict(self, max_bytes: int) -> int:
        before, protected = self._disk_bytes(), self._oldest_session()
        pinned = self._pins.all()
        rows = [(key, set(codec.files_in(text)), last_used) for key, text, last_used in self._index.oldest_first()]
        users, excess, doomed = Counter(name for _, names, _ in rows for name in names), before - max_bytes, list[str]()
        for key, names, last_used in rows:
            if excess <= 0 or last_used >= protected:
                break
            if key in pinned:
                continue
            doomed.append(key)
            users.subtract(names)
            excess -= sum(_size(self._path_of(name)) for name in names if not users[name])
        self._index.delete(doomed, protected)
        self._memory.clear()
        self._memory_bytes = 0
        self._sweep({name for _, text, _ in self._index.oldest_first() for name in codec.files_in(text)}, protected)
        self._sweep_progress(time.time() - ABANDONED_SECONDS)
        return before - self._disk_bytes()

    def clear(self) -> int:
        """Remove everything, unfinished trainings too, except entries that a living process has used; return bytes freed."""
        self._sweep_progress(time.time())
        return self.prune(-1)

    def _disk_bytes(self) -> int:
        """Return the bytes of all kept files, each counted once however many entries need it."""
        return sum(map(_size, (self.folder / "files").glob("*/*")))

    def _sweep(self, named: set[str], before: float) -> None:
        """Remove files that no entry names and leftovers of killed processes, if written before `before`."""
        self._sweep_temporary(before)
        for file in (self.folder / "files").glob("*/*"):
            if file.name not in named and _mtime(file) < before:
                file.unlink(missing_ok=True)

    def _sweep_temporary(self, before: float) -> None:
        """Remove leftovers of killed processes: a merge's is as large as a model."""
        for file in (self.folder / "temporary").iterdir():
            if _mtime(file) < before:
                file.unlink(missing_ok=True)

    def _sweep_progress(self, before: float) -> None:
        """Remove the progress of trainings that no process runs and that are unchanged since `before`."""
        for folder in [path for path in (self.folder / "progress").iterdir() if path.is_dir()]:
            lock = FileLock(folder.with_name(f"{folder.name}.lock"))
            if _mtime(folder) < before and lock.acquire():
                shutil.rmtree(folder, ignore_errors=True)
                _done_with(lock, folder)

    def _sweep_locks(self) -> None:
        """Remove locks that no process holds and whose folder is gone."""
        for path in (self.folder / "progress").glob("*.lock"):
            lock, folder = FileLock(path), path.with_suffix("")
            if not folder.exists() and lock.acquire():
                _done_with(lock, folder)

    def _begin_session(self) -> FileLock:
        handle, name = tempfile.mkstemp(dir=self.folder / "sessions")
        os.close(handle)
        session = FileLock(Path(name))
        while not session.acquire():  # a process that starts now may remove it as stale
            time.sleep(0.001)
        return session

    def _oldest_session(self) -> float:
        """Return when the oldest living process opened the cache; entries used since then must stay."""
        living = [self._session.path.stat().st_mtime]
        for path in (self.folder / "sessions").iterdir():
            lock = FileLock(path)
            if path == self._session.path:
                continue
            if lock.acquire():
                lock.remove()
            else:
                living.append(_mtime(path))
        return min(living)

    def _remember(self, key: str, value: object, text: str) -> None:
        self._memory_bytes += len(text) - len(self._memory.get(key, ("", ""))[1])
        self._memory[key] = (value, text)
        while self._memory_bytes > MEMORY_BYTES:
            _, (_, freed) = self._memory.popitem(last=False)
            self._memory_bytes -= len(freed)

    def _sound(self, name: str) -> bool:
        """Return whether a store file is there and still has the content that names it."""
        path = self._path_of(name)
        try:
            stamp = _stamp(path)
            if self._verified.get(name) != stamp and digest_file(path) != name.split(".", 1)[0]:
                return False
        except (FileNotFoundError, NotRegular):
            return False
        self._verified[name] = stamp
        return True

    def _path_of(self, name: str) -> Path:
        return self.folder / "files" / name[:2] / name

    def _name_of(self, path: Path) -> str:
        if path.parent.parent != self.folder / "files":
            raise codec.NotStorable(f"{path} is not a file of the cache")
        return path.name


def _stamp(path: Path) -> tuple[int, int]:
    """Return the size and time of modification, which change when the file is written."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mtime(path: Path) -> float:
    """Return when a file was written; infinity if another process has removed it, so that this one does not try."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _done_with(lock: FileLock, folder: Path) -> None:
    """Release a lock, and remove it when the folder that it guards is gone."""
    if folder.exists():
        lock.release()
    else:
        lock.remove()
