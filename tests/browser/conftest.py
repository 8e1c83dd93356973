"""The real server with its worker, and the system's Chromium in front of it."""

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.machines import Server, launch
from tests.shell import ROOT

PATIENCE_MS = 120_000
PICTURES = ("anchor.webp", "bread.webp", "cactus.webp", "candle.webp")

expect.set_options(timeout=PATIENCE_MS)


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


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Gone after the last of these tests: while Playwright is open, nothing else in the process can run an event loop."""
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
