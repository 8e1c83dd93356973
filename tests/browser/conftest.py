"""The real server with its worker, and the system's Chromium in front of it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

ROOT = Path(__file__).parent.parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
PATIENCE_MS = 120_000
PICTURES = ("anchor.webp", "bread.webp", "cactus.webp", "candle.webp")

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker of the test run drives the browser, so that two trainings never share the machine."""
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a picture of every open page when a test fails."""
    report = yield
    if report.when == "call" and report.failed and "browser" in item.funcargs:
        pages = [page for context in item.funcargs["browser"].contexts for page in context.pages]
        for number, page in enumerate(pages):
            picture = item.funcargs["tmp_path"] / f"page-{number}.png"
            page.screenshot(path=picture, timeout=10_000)
            report.sections.append(("The page", str(picture)))
    return report


class Server:
    """A running `server.py` with a workspace of its own."""

    def __init__(self, workspace: Path, cache: Path) -> None:
        self.workspace = workspace
        self._cache = cache
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that no other test has filled."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def server(tmp_path: Path, cache: Path) -> Iterator[Server]:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in PICTURES:
        shutil.copy(ROOT / "workflows" / "pictures" / "line" / name, photos)
    running = Server(tmp_path, cache)
    yield running
    running.stop()


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Open pages; an error in the browser's console fails the test, unless the server was meant to be away."""
    errors: list[str] = []
    contexts: list[Any] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "ERR_CONNECTION" not in message.text and "status of 409" not in message.text:
            errors.append(message.text)

    def open_one(theme: str = "dark", *, width: int = 1440, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # pyright: ignore
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector(".app")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()
