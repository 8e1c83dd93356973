"""The editor: start of the server, its answers while a training runs, a large graph, and the first load."""

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.machines import Server, free_port, launch
from tests.shell import ROOT

BARE = """
import sys
from aiohttp import web
app = web.Application()
app.router.add_get("/", lambda request: web.FileResponse(sys.argv[2]))
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""
FRAMES = """(ms) => new Promise((done) => {
    const times = []; let last = performance.now(); const stop = last + ms;
    const frame = (now) => {
        times.push(now - last); last = now;
        now < stop ? requestAnimationFrame(frame) : done(times.slice(2));
    };
    requestAnimationFrame(frame);
})"""
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


def frames_while(page: Page, start: tuple[float, float], button: str) -> str:
    page.evaluate(f"window.frames_seen = ({FRAMES})(3000)")
    x, y = start
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(120):
        page.mouse.move(x - 2 * step, y - step)
    page.mouse.up()
    times = page.evaluate("window.frames_seen")
    return f"{button} {statistics.median(times):.1f} ms (95 %: {statistics.quantiles(times, n=20)[18]:.1f})"


def thousand_nodes(server: Server) -> None:
    (server.workspace / "workflows").mkdir(exist_ok=True)
    (server.workspace / "workflows" / "large.json").write_text(json.dumps(large_graph()))
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.goto(server.url)
        page.wait_for_selector(".app")
        page.keyboard.press("Control+O")
        row = page.locator(".row", has=page.get_by_text("large", exact=True))
        row.wait_for()
        began = time.perf_counter()
        row.click()
        page.locator(".react-flow__node").first.wait_for()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        print(f"{NODES} nodes: shown after {time.perf_counter() - began:.2f} s (target 2)")
        page.wait_for_timeout(5000)
        box = page.locator(".far-card").nth(NODES // 2).bounding_box()
        assert box
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        print("median frame, everything visible:", frames_while(page, (950, 880), "panning"), end=", ")
        print(frames_while(page, middle, "dragging"), "(target 20)")
        page.keyboard.press("Control+F")
        page.keyboard.type("n512")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        near = page.locator(".card-header").first.bounding_box()
        assert near
        grip = (near["x"] + 40, near["y"] + 10)
        print("median frame zoomed in:", frames_while(page, (600, 860), "panning"), end=", ")
        page.keyboard.press("Control+F")
        page.keyboard.type("n512")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        print(frames_while(page, grip, "dragging"), "(target 20)")
        browser.close()


def first_load() -> None:
    static = ROOT / "web" / "static"
    page = (static / "index.html").read_text()
    scripts = [file for file in (static / "assets").iterdir() if file.name in page]
    font = [file for file in (static / "assets").iterdir() if file.name.startswith("inter-latin-wght")]
    size = sum(len(gzip.compress(file.read_bytes())) for file in scripts) + sum(file.stat().st_size for file in font)
    print(f"first load: {size / 1e3:.0f} kB gzipped (target 400)")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start_ratio(folder)
        first_load()
        server = Server(folder, folder / "cache")
        try:
            answers_while_training(server)
            thousand_nodes(server)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
