"""The process that executes runs one by one: orders are JSON lines on stdin, answers are JSON lines on stdout.

In: `{"run": {id, document, targets, folder, seq}}`, `{"cancel": ID}`; the end of stdin means that the parent has ended.
Out: `{"folder": NAME, "seq": NEXT}`, `{"event": ...}`, `{"problems": [...]}`, and for every run one `{"done": STATUS}`.
"""

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from graph_runtime import events as ev
from graph_runtime.cache import Cache
from graph_runtime.discovery import load_palette
from graph_runtime.errors import DamagedCache, Interrupted, Problem, WorkflowError
from graph_runtime.session import cache_limit, open_folder, prepare, run_in
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace


class Channel:
    """The two pipes to the parent; the end of the parent is a request to stop."""

    def __init__(self, orders: IO[bytes], answers: IO[bytes]) -> None:
        self._orders = orders
        self._answers = answers
        self._runs: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._cancelled: set[str] = set()
        self._closing = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if "cancel" in order:
                self._cancelled.add(order["cancel"])
            else:
                self._runs.put(order["run"])
        self.close()

    def close(self) -> None:
        """Ask the current run to stop, and accept no other."""
        self._closing.set()
        self._runs.put(None)

    def next_run(self) -> dict[str, Any] | None:
        """Wait for a run and return it; None when there will be no more."""
        run = self._runs.get()
        return None if self._closing.is_set() else run

    def stop_requested(self, id: str) -> bool:
        return self._closing.is_set() or id in self._cancelled

    def send(self, content: str) -> None:
        """Send one line of JSON."""
        try:
            self._answers.write(f"{content}\n".encode())
            self._answers.flush()
        except OSError:
            self.close()

    def report(self, **message: Any) -> None:
        self.send(json.dumps(message))

    def event(self, event: ev.Event) -> None:
        self.send(f'{{"event":{event.model_dump_json()}}}')


class Worker:
    """Executes runs in one workspace with one cache on one device."""

    def __init__(self, channel: Channel, options: argparse.Namespace) -> None:
        self._channel = channel
        self._options = options

    def serve(self) -> None:
        """Execute runs until the parent has ended."""
        while order := self._channel.next_run():
            self._channel.report(done=self._outcome(order))

    def _outcome(self, order: dict[str, Any]) -> ev.RunStatus:
        """Execute a run and return how it ended; an error outside of its nodes becomes a problem and does not end the worker."""
        try:
            return self._execute(order)
        except Interrupted:
            return "interrupted"
        except WorkflowError as error:
            problems = error.problems
        except DamagedCache as error:
            problems = (Problem(str(error)),)
        except OSError as error:
            problems = (Problem(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")),)
        except Exception as error:
            traceback.print_exc()
            problems = (Problem(f"{type(error).__name__}: {error}"),)
        self._channel.report(problems=[problem.to_json() for problem in problems])
        return "failed"

    def _execute(self, order: dict[str, Any]) -> ev.RunStatus:
        options, stop = self._options, self._stop_of(order["id"])
        palette = load_palette()
        cache = Cache(options.cache, cache_limit())
        try:
            workspace = Workspace(options.workspace, packages=palette.folders)
            prepared = prepare(workflow_from_json(order["document"]), palette, workspace, cache, order["targets"])
            folder = open_folder(prepared, options.output, order["folder"], order["seq"], lambda: _raise_if(stop()))
            self._channel.report(folder=folder.name, seq=folder.next_seq)
            listener = self._channel.event
            return run_in(folder, prepared, cache, device=options.device, listener=listener, stop_requested=stop).status
        finally:
            cache.close()

    def _stop_of(self, id: str) -> Callable[[], bool]:
        return lambda: self._channel.stop_requested(id)


def _raise_if(stop: bool) -> None:
    if stop:
        raise Interrupted


def _take_pipes() -> Channel:
    """Reserve stdin and stdout for the channel: what libraries print goes to stderr, and their stdin is empty."""
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return Channel(orders, answers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m graph_runtime.worker")
    for name in ("workspace", "output", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--device", required=True)
    return parser.parse_args()


def main() -> int:
    """Serve until the parent has ended."""
    options = _arguments()
    channel = _take_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C may reach this process too, but the server decides
    signal.signal(signal.SIGTERM, lambda *_: channel.close())
    Worker(channel, options).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
