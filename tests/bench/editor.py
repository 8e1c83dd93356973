"""The editor: start of the server, its answers while a training runs, a large graph, and the first load."""

import gzip
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.hands import PLACES, STILL
from tests.browser.machines import Server, free_port, launch
from tests.shell import ROOT

BARE = """
import sys
from aiohttp import web
app = web.Application()
app.router.add_get("/", lambda request: web.FileResponse(sys.argv[2]))
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""
RECORD = """() => {
    window.frames = [];
    window.recording = true;
    let last = performance.now();
    const frame = (now) => {
        window.frames.push(now - last);
        last = now;
        if (window.recording) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""
STOP = "() => { window.recording = false; return window.frames.slice(2); }"
SECONDS = 3.0
NODES = 1000


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
    print(f"first page after the start: {a:.2f} s, bare aiohttp {b:.2f} s: ratio {a / b:.2f} (target 1.5)")


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
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/api/runs/{run}/cancel", b"{}", headers)).read()
    p99 = statistics.quantiles(times, n=100)[98]
    print(
        f"an API read while a training runs: median {1e3 * statistics.median(times):.1f} ms, p99 {1e3 * p99:.1f} ms (target 20)"
    )


def large_graph() -> dict[str, Any]:
    types = ["LoadModel", "InjectLoRA", "EncodeLatents", "TrainLoRA", "SampleImages"]
    nodes = {f"n{i}": {"type": types[i % 5], "position": [(i % 40) * 340, (i // 40) * 460]} for i in range(NODES)}
    wires: list[dict[str, str]] = []
    for i in range(0, NODES, 5):
        pairs = (("output", 1, "model", 0), ("output", 2, "model", 0), ("output", 3, "model", 1), ("output", 3, "latents", 2))
        for output, target, name, source in (*pairs, ("output", 4, "models", 3), ("output", 4, "models", 1)):
            wires.append({"from": f"n{i + source}.{output}", "to": f"n{i + target}.{name}"})
    return {"format": "latentloom/1", "name": "large", "nodes": nodes, "wires": wires}


def frames_while(page: Page, start: tuple[float, float], doing: str) -> str:
    """Measure the frames while the mouse is held down and moves; what should follow it must have moved."""
    x, y = start
    before = page.evaluate(PLACES)
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(RECORD)
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < SECONDS:
        page.mouse.move(x - 150 * math.sin(2 * passed), y - 80 * math.sin(3 * passed))
    times = page.evaluate(STOP)
    page.mouse.move(x - 90, y - 60)
    page.evaluate(STILL)
    assert page.evaluate(PLACES) != before, f"nothing moved while {doing}"
    page.mouse.up()
    return f"{doing} {statistics.median(times):.1f} ms (95 %: {statistics.quantiles(times, n=20)[18]:.1f})"


def middle_of(page: Page, selector: str, number: int = 0) -> tuple[float, float]:
    box = page.locator(selector).nth(number).bounding_box()
    assert box
    return box["x"] + min(box["width"] / 2, 40), box["y"] + min(box["height"] / 2, 10)


def find(page: Page, node: str) -> None:
    """Bring a node into view, large."""
    page.keyboard.press("Control+F")
    page.keyboard.type(node)
    page.keyboard.press("Enter")
    page.locator(".card-header").first.wait_for()
    page.evaluate(STILL)


def until_a_click_is_answered(page: Page) -> None:
    """Wait for the last node, click one, and wait until it is shown as selected."""
    page.locator(".far-card").nth(NODES - 1).wait_for()
    page.mouse.click(*middle_of(page, ".far-card", NODES // 2))
    page.locator(".react-flow__node.selected").wait_for()


def thousand_nodes(server: Server, page: Page) -> None:
    (server.workspace / "workflows").mkdir(exist_ok=True)
    (server.workspace / "workflows" / "large.json").write_text(json.dumps(large_graph()))
    page.keyboard.press("Control+O")
    row = page.locator(".row", has=page.get_by_text("large", exact=True))
    row.wait_for()
    began = time.perf_counter()
    row.click()
    until_a_click_is_answered(page)
    print(f"{NODES} nodes: a click is answered {time.perf_counter() - began:.2f} s after opening (target 2)")
    page.evaluate(STILL)
    print("median frame, everything visible:", frames_while(page, (950, 880), "panning"), end=", ")
    print(frames_while(page, middle_of(page, ".far-card", NODES // 2), "dragging"), "(target 20)")
    find(page, "n512")
    print("median frame zoomed in:", frames_while(page, (600, 860), "panning"), end=", ")
    find(page, "n512")
    print(frames_while(page, middle_of(page, ".card-header"), "dragging"), "(target 20)")


def first_load(server: Server, page: Page) -> None:
    """Open the page and add up what it asks for, gzipped where that makes it smaller."""
    sizes: dict[str, int] = {}
    page.on("requestfinished", lambda request: sizes.update({request.url: packed(request.response().body())}))
    page.goto(server.url)
    page.wait_for_selector(".app")
    page.wait_for_load_state("networkidle")
    print(f"first load: {sum(sizes.values()) / 1e3:.0f} kB gzipped in {len(sizes)} requests (target 400)")


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
