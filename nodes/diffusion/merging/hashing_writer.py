"""Hashing and writing of bytes in a thread beside the calculation."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from queue import Queue
from threading import Thread

WAITING = 4
"""Most slices that wait, so that a slow disk holds up the calculation instead of filling the memory."""


class HashingWriter:
    """Writes a file and computes its sha256."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._queue: Queue[memoryview | bytes | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._write_all)
        self._thread.start()

    def write(self, data: memoryview | bytes) -> None:
        """Queue `data`, which must not change any more; raise the error of earlier data."""
        if self._error:
            raise self._error
        self._queue.put(data)

    def close(self) -> None:
        """Wait for the end of writing; raise its error."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def digest(self) -> str:
        """Return the sha256 of the closed file in hexadecimal."""
        return self._hash.hexdigest()

    def _write_all(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(memoryview(data).cast("B"))
                except BaseException as error:
                    self._error = error

    def _write(self, data: memoryview) -> None:
        """Write all bytes, in several calls if the system takes fewer at a time."""
        self._hash.update(data)
        while len(data):
            data = data[self._file.write(data) :]


@contextmanager
def writing(path: Path) -> Generator[HashingWriter]:
    """Write a new file; its digest is available afterwards."""
    with path.open("wb", buffering=0) as file:
        writer = HashingWriter(file)
        try:
            yield writer
        finally:
            writer.close()
