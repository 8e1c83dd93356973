"""No state of the editor has a fault that axe can find (WCAG 2.2 AA)."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.hands import open_template, put, run, small_training, wait_for
from tests.browser.machines import Server
from tests.shell import ROOT

AXE = (ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text() if (ROOT / "web" / "node_modules").is_dir() else ""
TAGS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
SIZES = {"runOnly": {"type": "rule", "values": ["target-size"]}}
ZOOMED = {"exclude": [[".react-flow"]]}
"""What lies on the canvas is as large as the person zooms it."""


FADED = """async () => {
    const ends = () => document.getAnimations()
        .filter(animation => animation.effect.getComputedTiming().iterations !== Infinity).map(animation => animation.finished)
    const frame = () => new Promise(requestAnimationFrame)
    for (let still = 0; still < 3; await frame()) {
        const fading = ends()
        still = fading.length ? 0 : still + 1
        await Promise.allSettled(fading)
    }
}"""
"""Ends when nothing fades any more, nor begins to in three frames: text that is half there has too little contrast."""


def faults(page: Page) -> list[str]:
    page.evaluate(FADED)
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE + "; 0")
    script = "([context, options]) => axe.run(context ?? document, options)"
    reports: list[dict[str, Any]] = [page.evaluate(script, [None, TAGS]), page.evaluate(script, [ZOOMED, SIZES])]
    found = [fault for report in reports for fault in report["violations"]]
    return [f"{each['id']}: {node['html'][:160]} {node['any'][:1]}" for each in found for node in each["nodes"][:5]]


@pytest.fixture(params=["dark", "light"])
def themed(request: pytest.FixtureRequest, open_page: Callable[..., Page]) -> Page:
    return open_page(request.param)


def test_at_rest(themed: Page) -> None:
    page = themed
    assert AXE
    assert faults(page) == []
    page.keyboard.press("Space")
    expect(page.locator(".picker")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    open_template(page)
    assert faults(page) == []
    page.get_by_test_id("node-train").locator("h3").click()
    expect(page.get_by_role("heading", name="Train LoRA").first).to_be_visible()
    assert faults(page) == []
    page.get_by_test_id("field-images-folder").get_by_role("button", name="Show pictures").click()
    expect(page.locator(".pictures-grid img").first).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.locator(".shortcuts")).to_be_visible()
    assert faults(page) == []


def test_in_a_run(themed: Page, server: Server) -> None:
    page = themed
    small_training(page, 12)
    run(page)
    wait_for(page, "running")
    assert faults(page) == []
    wait_for(page, "succeeded")
    assert faults(page) == []
    put(page, "train", "max_steps", "500")
    run(page)
    wait_for(page, "running")
    server.worker().kill()
    wait_for(page, "failed")
    assert faults(page) == []
    put(page, "images", "folder", "nowhere")
    page.get_by_role("tab", name="Node", exact=True).click()
    expect(page.locator(".has-problems").first).to_be_visible()
    assert faults(page) == []
    page.get_by_role("tab", name="Queue", exact=True).click()
    assert faults(page) == []
