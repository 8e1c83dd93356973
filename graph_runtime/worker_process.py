"""A worker from the server's side: a child process that receives orders and sends messages."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

MAX_LINE = 256 * 2**20
ERRORS_KEPT = 64 * 2**10
DRAIN_SECONDS = 2.0


class _Watch(asyncio.subprocess.SubprocessStreamProtocol):
    """Detects the end of the process, which its pipes may outlive when a child holds them open."""

    def __init__(self) -> None:
        super().__init__(limit=MAX_LINE, loop=asyncio.get_running_loop())
        self.gone, self.silent = asyncio.Event(), asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.gone.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.silent.set()


class WorkerProcess:
    """A running worker; made by `start`."""

    def __init__(self, transport: asyncio.SubprocessTransport, watch: _Watch) -> None:
        process = asyncio.subprocess.Process(transport, watch, asyncio.get_running_loop())
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._orders, self._answers, self._stderr = process.stdin, process.stdout, process.stderr
        self._errors = b""
        self._drain = asyncio.create_task(self._keep_errors())
        self._reaping = asyncio.create_task(self._reap(transport, watch))

    @classmethod
    async def start(cls, command: Sequence[str]) -> "WorkerProcess":
        """Start a worker in its own session; raise OSError when that fails."""
        pipe, loop = asyncio.subprocess.PIPE, asyncio.get_running_loop()
        own = sys.platform != "win32"
        return cls(*await loop.subprocess_exec(_Watch, *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=own))

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> str:
        """Return the last output of the process to stderr."""
        return self._errors.decode("utf-8", "replace")

    def forget_errors(self) -> None:
        self._errors = b""

    def send(self, **order: Any) -> None:
        """Send an order; it is lost if the worker is dead."""
        self._orders.write(f"{json.dumps(order)}\n".encode())

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the worker's messages until it ends; skip lines that are none."""
        while True:
            try:
                line = await self._answers.readline()
            except ValueError:  # a line longer than the limit
                continue
            if not line:
                return
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    yield message

    def close_stdin(self) -> None:
        """Ask the worker to stop its run, keeping the progress, and to end."""
        self._orders.close()

    def kill(self) -> None:
        """End the process and its children at once."""
        if self.alive:
            self._kill_all()

    async def ended(self) -> int:
        """Wait until the process is gone; return its exit status."""
        async for _ in self.messages():
            pass
        await self._drain
        return await self._reaping

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)

    async def _reap(self, transport: asyncio.SubprocessTransport, watch: _Watch) -> int:
        """Wait for the end of the process, kill its children, and close the pipes of any that survive."""
        await watch.gone.wait()
        self._kill_all()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch.silent.wait(), DRAIN_SECONDS)
        transport.close()
        status = transport.get_returncode()
        assert status is not None
        return status

    async def _keep_errors(self) -> None:
        while part := await self._stderr.read(ERRORS_KEPT):
            self._errors = (self._errors + part)[-ERRORS_KEPT:]
