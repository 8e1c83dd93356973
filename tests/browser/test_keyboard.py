"""Every dialog by keyboard alone, in whatever browser the system serves."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser.hands import drop_document, run, wait_for
from tests.browser.machines import Server

KEYS = ("ArrowDown", "ArrowDown", "ArrowUp", "End", "ArrowDown", "Home", "ArrowUp", "ArrowRight", "ArrowLeft")
DRAWING: dict[str, Any] = {
    "format": "latentloom/1",
    "name": "drawing",
    "nodes": {
        "images": {"type": "LoadImages", "fields": {"folder": "photos"}, "position": [0, 400]},
        "model": {"type": "LoadModel", "position": [0, 0]},
        "sample": {
            "type": "SampleImages",
            "fields": {"prompts": "bread\ncandle", "num_inference_steps": 1, "width": 64, "height": 64},
            "position": [320, 0],
        },
        "pictures": {"type": "SaveImages", "position": [640, 0]},
    },
    "wires": [{"from": "model.output", "to": "sample.models"}, {"from": "sample.output", "to": "pictures.images"}],
}
CHANGE_ELSEWHERE = """async () => {
    const {token} = await (await fetch("/api/session")).json();
    const {document, revision} = await (await fetch("/api/workflows/mine.json")).json();
    const body = JSON.stringify({document: {...document, description: "theirs"}, revision});
    const headers = {"Content-Type": "application/json", "X-Latentloom-Token": token};
    await fetch("/api/workflows/mine.json", {method: "PUT", headers, body});
}"""


def walk(page: Page, dialog: str, open_it: Callable[[], None]) -> None:
    """Open a dialog, press every key that moves through lists and fields, and leave it with Escape."""
    open_it()
    shown = page.locator(f".dialog.{dialog}")
    expect(shown).to_be_visible()
    for key in KEYS:
        page.keyboard.press(key)
    expect(shown).to_be_visible()
    expect(page.locator(".crash")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(shown).to_have_count(0)


def press(page: Page, *keys: str) -> Callable[[], None]:
    def press_all() -> None:
        for key in keys:
            page.keyboard.press(key)

    return press_all


def press_button(page: Page, place: str, name: str) -> Callable[[], None]:
    return lambda: page.locator(place).get_by_role("button", name=name).first.press("Enter")


def test_every_dialog_is_walked_by_keyboard(page: Page, browser: Browser, server: Server) -> None:
    drop_document(page, DRAWING)
    check_nodes_come_before_wires(page)
    for dialog, keys in (("picker", "Space"), ("picker", "Control+k"), ("picker", "Control+f"), ("gallery", "Alt+t")):
        walk(page, dialog, press(page, keys))
    walk(page, "shortcuts", press_button(page, ".rail", "Keyboard shortcuts"))
    walk(page, "files", press_button(page, "[data-testid=field-images-folder]", "Browse"))
    walk(page, "dataset", press_button(page, "[data-testid=field-images-folder]", "Show pictures"))
    walk(page, "small", press(page, "Control+s"))
    page.keyboard.press("Control+s")
    page.locator("#save-name").fill("mine")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved as mine.json.")).to_be_visible()
    walk(page, "list", press(page, "Control+o"))
    page.evaluate(CHANGE_ELSEWHERE)
    walk(page, "small", press(page, "Control+s"))
    run(page)
    wait_for(page, "succeeded")
    walk(page, "pictures", press_button(page, ".artifacts", "Enlarge"))
    check_lists_take_what_is_reached(page)
    check_one_fault_leaves_the_rest(browser.new_context().new_page(), server)


def check_nodes_come_before_wires(page: Page) -> None:
    expect(page.locator(".react-flow__edge")).to_have_count(2)
    page.locator(".react-flow__pane").evaluate("pane => { pane.tabIndex = -1; pane.focus(); }")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.react-flow__node') !== null")


def check_lists_take_what_is_reached(page: Page) -> None:
    page.keyboard.press("Space")
    expect(page.locator(".picker-input")).to_be_focused()
    page.keyboard.type("save")
    options = page.locator(".picker-body [role=option]")
    second = options.nth(1).locator(".label").inner_text()
    press(page, "ArrowDown", "Enter")()
    expect(page.locator(".picker")).to_have_count(0)
    expect(page.locator(".card", has_text=second).last).to_be_visible()
    page.keyboard.press("Alt+t")
    tiles = page.locator(".tile")
    expect(tiles.first).to_be_visible()
    press(page, "ArrowDown", "ArrowRight", "ArrowDown", "ArrowLeft")()
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(tiles.last).to_be_focused()
    last = tiles.last.locator("strong").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator(".tab.current")).to_contain_text(last)


def check_one_fault_leaves_the_rest(page: Page, server: Server) -> None:
    """A dialog that cannot be drawn says so in its place, and goes; this page's errors are meant."""
    page.route("**/api/templates", lambda route: route.fulfill(json={"workflows": [None]}))
    page.goto(server.url)
    expect(page.locator(".app")).to_be_visible()
    page.keyboard.press("Alt+t")
    expect(page.locator(".crash")).to_contain_text("This part of the page has met an error.")
    expect(page.locator(".react-flow__pane")).to_be_visible()
    page.locator(".crash").get_by_role("button", name="Close").click()
    expect(page.locator(".crash")).to_have_count(0)
    page.keyboard.press("Space")
    expect(page.locator(".picker")).to_be_visible()
    page.context.close()
