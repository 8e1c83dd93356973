"""The editor: start of the server, its answers while a training runs, the first load, and a large graph."""

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.bench.canvas import thousand_nodes
from tests.bench.figures import record
from tests.browser.machines import Server, free_port, launch
from tests.shell import ROOT

BARE = """
import sys
from aiohttp import web
app = web.Application()
app.router.add_get("/", lambda request: web.FileResponse(sys.argv[2]))
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


def first_answer(command: list[str], port: int) -> float:
    """Seconds from the start of a process to its first page."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
            break
        except OSError:
            time.sleep(0.005)
    seconds = time.perf_counter() - began
    process.kill()
    process.wait()
    return seconds


def start_ratio(folder: Path) -> None:
    page, port, bare_port = str(ROOT / "web" / "static" / "index.html"), free_port(), free_port()
    places = ["--workspace", str(folder), "--cache", str(folder / "cache")]
    ours = [sys.executable, str(ROOT / "server.py"), "--port", str(port), *places]
    bare = [sys.executable, "-c", BARE, str(bare_port), page]
    pairs = [(first_answer(ours, port), first_answer(bare, bare_port)) for _ in range(5)]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    record("first page after the start (target 1.5)", a / b, "x bare aiohttp")


def answers_while_training(server: Server) -> None:
    token = server.get("/api/session")["token"]
    document = server.get("/api/templates/lora")["document"]
    body = json.dumps({"document": document, "targets": ["train"]}).encode()
    headers = {"Content-Type": "application/json", "X-Latentloom-Token": token}
    run = json.loads(urllib.request.urlopen(urllib.request.Request(f"{server.url}/api/runs", body, headers)).read())["id"]
    while not any(event["type"] == "node_metric" for event in server.get(f"/api/runs/{run}/events?after=-1")["events"]):
        time.sleep(0.5)
    times: list[float] = []
    for _ in range(500):
        for path in ("/api/runs", "/api/session"):
            began = time.perf_counter()
            server.get(path)
            times.append(time.perf_counter() - began)
        time.sleep(0.01)
    assert server.get(f"/api/runs/{run}")["run"]["state"] == "running"
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/api/runs/{run}/cancel", b"{}", headers)).read()
    p99 = statistics.quantiles(times, n=100)[98]
    record("an API read while a training runs, median", 1e3 * statistics.median(times), "ms")
    record("an API read while a training runs, 99 of 100 (target 20)", 1e3 * p99, "ms")


def first_load(server: Server, page: Page) -> None:
    """Open the page and add up what it asks for, gzipped where that makes it smaller."""
    sizes: dict[str, int] = {}
    page.on("requestfinished", lambda request: sizes.update({request.url: packed(request.response().body())}))
    page.goto(server.url)
    page.wait_for_selector(".app")
    page.wait_for_load_state("networkidle")
    record("first load, gzipped (target 400)", sum(sizes.values()) / 1e3, "kB")


def packed(content: bytes) -> int:
    return min(len(content), len(gzip.compress(content)))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start_ratio(folder)
        server = Server(folder, folder / "cache")
        try:
            answers_while_training(server)
            with sync_playwright() as playwright, launch(playwright) as browser:
                page = browser.new_page(viewport={"width": 1600, "height": 900})
                first_load(server, page)
                thousand_nodes(server, page)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
