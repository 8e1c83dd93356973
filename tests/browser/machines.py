"""What the tests and the bench start: the real server, and the machine's own Chromium."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Playwright

from tests.shell import ROOT

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A running `server.py` with a workspace of its own."""

    def __init__(self, workspace: Path, cache: Path) -> None:
        self.workspace = workspace
        self._cache = cache
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(ROOT / "server.py"), "--port", str(self.port), "--workspace", str(self.workspace)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        log = (self.workspace / ".server.log").open("ab")
        self.process = subprocess.Popen([*command, "--cache", str(self._cache)], env=environment, stderr=log, stdout=log)
        log.close()
        while True:
            assert self.process.poll() is None, (self.workspace / ".server.log").read_text()
            try:
                self.get("/api/session")
            except OSError:
                time.sleep(0.1)
            else:
                break

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return json.loads(reply.read())

    def worker(self) -> psutil.Process:
        """The process that carries out runs."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if "graph_runtime.worker" in " ".join(child.cmdline()))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def outcome(self) -> dict[str, str]:
        """How each node of the newest run ended."""
        run = self.get("/api/runs")["runs"][0]["id"]
        events = self.get(f"/api/runs/{run}/events?after=-1")["events"]
        return {node: how["state"] for node, how in events[-1]["nodes"].items()}


def launch(playwright: Playwright) -> Browser:
    """Start the machine's own Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "This needs Chromium: `make chromium` installs it where it can."
    return playwright.chromium.launch(executable_path=found, args=FLAGS)
