"""How a graph of a thousand nodes opens, and follows the mouse."""

import json
import math
import statistics
import time
from typing import Any

from playwright.sync_api import Page

from tests.browser.hands import STILL
from tests.browser.machines import Server

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
NEAR = "n512"


def large_graph() -> dict[str, Any]:
    types = ["LoadModel", "InjectLoRA", "EncodeLatents", "TrainLoRA", "SampleImages"]
    nodes = {f"n{i}": {"type": types[i % 5], "position": [(i % 40) * 340, (i // 40) * 460]} for i in range(NODES)}
    wires: list[dict[str, str]] = []
    for i in range(0, NODES, 5):
        pairs = (("output", 1, "model", 0), ("output", 2, "model", 0), ("output", 3, "model", 1), ("output", 3, "latents", 2))
        for output, target, name, source in (*pairs, ("output", 4, "models", 3), ("output", 4, "models", 1)):
            wires.append({"from": f"n{i + source}.{output}", "to": f"n{i + target}.{name}"})
    return {"format": "latentloom/1", "name": "large", "nodes": nodes, "wires": wires}


def frames_while(page: Page, doing: str, start: tuple[float, float], moving: str) -> str:
    """Measure the frames while the mouse is held down and moves; what `moving` selects must have followed it."""
    x, y = start
    where = f"() => document.querySelector('{moving}').style.transform"
    before = page.evaluate(where)
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(RECORD)
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < SECONDS:
        page.mouse.move(x - 150 * math.sin(2 * passed), y - 80 * math.sin(3 * passed))
    times = page.evaluate(STOP)
    page.mouse.move(x - 90, y - 60)
    page.evaluate(STILL)
    assert page.evaluate(where) != before, f"nothing moved while {doing}"
    page.mouse.up()
    return f"{doing} {statistics.median(times):.1f} ms (95 %: {statistics.quantiles(times, n=20)[18]:.1f})"


def box_of(node: str) -> str:
    return f".react-flow__node[data-id={node}]"


def grip_of(page: Page, selector: str) -> tuple[float, float]:
    """Return a place where the mouse takes hold of something."""
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"] + min(box["width"] / 2, 40), box["y"] + min(box["height"] / 2, 10)


def find(page: Page, node: str) -> None:
    """Bring a node into view, large."""
    page.keyboard.press("Control+F")
    page.keyboard.type(node)
    page.keyboard.press("Enter")
    page.locator(f"{box_of(node)} .card-header").wait_for()
    page.evaluate(STILL)


def empty_place(page: Page) -> tuple[float, float]:
    """Return a place of the canvas that nothing covers."""
    script = "([x, y]) => document.elementFromPoint(x, y)?.classList.contains('react-flow__pane')"
    return next((x, y) for y in range(860, 100, -20) for x in range(300, 1100, 20) if page.evaluate(script, [x, y]))


def until_a_click_is_answered(page: Page) -> None:
    """Wait for the last node, click one, and wait until it is shown as selected."""
    page.locator(box_of(f"n{NODES - 1}")).wait_for()
    page.mouse.click(*grip_of(page, box_of(NEAR)))
    page.locator(f"{box_of(NEAR)}.selected").wait_for()


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
    drag, pan = box_of(NEAR), ".react-flow__viewport"
    print("median frame, everything visible:", frames_while(page, "panning", (950, 880), pan), end=", ")
    print(frames_while(page, "dragging", grip_of(page, drag), drag), "(target 20)")
    find(page, NEAR)
    print("median frame zoomed in:", frames_while(page, "panning", empty_place(page), pan), end=", ")
    find(page, NEAR)
    print(frames_while(page, "dragging", grip_of(page, f"{drag} .card-header"), drag), "(target 20)")
