"""A worker as the server sees it: a child process that is sent orders and answers with messages."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

MAX_LINE = 256 * 2**20
ERRORS_KEPT = 64 * 2**10


class WorkerProcess:
    """A running worker; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._orders, self._answers, self._stderr = process.stdin, process.stdout, process.stderr
        self._errors = b""
        self._drain = asyncio.create_task(self._keep_errors())

    @classmethod
    async def start(cls, command: Sequence[str]) -> "WorkerProcess":
        """Start a worker; raise OSError when the system cannot."""
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, limit=MAX_LINE))

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> str:
        """The last that the process wrote to stderr."""
        return self._errors.decode("utf-8", "replace")

    def forget_errors(self) -> None:
        self._errors = b""

    def send(self, **order: Any) -> None:
        """Send an order; one that is dead does not hear it."""
        self._orders.write(f"{json.dumps(order)}\n".encode())

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the worker says until it ends; what is no message is passed over."""
        while True:
            try:
                line = await self._answers.readline()
            except ValueError:  # a line beyond all measure
                continue
            if not line:
                return
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    yield message

    def hang_up(self) -> None:
        """Ask the worker to stop what it does, keeping its progress, and to end."""
        self._orders.close()

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        """Wait until the process is gone; return its exit status."""
        async for _ in self.messages():
            pass
        await self._drain
        return await self._process.wait()

    async def _keep_errors(self) -> None:
        while part := await self._stderr.read(ERRORS_KEPT):
            self._errors = (self._errors + part)[-ERRORS_KEPT:]
