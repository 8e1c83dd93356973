"""Writing beside the calculation: bytes are hashed and written in order by a thread of their own."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from queue import Queue
from threading import Thread

WAITING = 4
"""So many slices may wait; a disk slower than the calculation holds it up instead of filling the memory."""


class HashingWriter:
    """Writes a file and takes its sha256 on the way."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._queue: Queue[memoryview | bytes | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._write_all)
        self._thread.start()

    def write(self, data: memoryview | bytes) -> None:
        """Let `data`, which nobody may change any more, be written; raise what writing earlier data raised."""
        if self._error:
            raise self._error
        self._queue.put(data)

    def close(self) -> None:
        """Wait for the end of writing; raise what it raised."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def digest(self) -> str:
        """Return the sha256 of a file that is closed, in hexadecimal."""
        return self._hash.hexdigest()

    def _write_all(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(memoryview(data).cast("B"))
                except BaseException as error:
                    self._error = error

    def _write(self, data: memoryview) -> None:
        """Write all of it: the system may take less at a time."""
        self._hash.update(data)
        while len(data):
            data = data[self._file.write(data) :]


@contextmanager
def writing(path: Path) -> Generator[HashingWriter]:
    """Write a new file; its digest is known after the end."""
    with path.open("wb", buffering=0) as file:
        writer = HashingWriter(file)
        try:
            yield writer
        finally:
            writer.close()
