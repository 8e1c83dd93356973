"""What a person does, in the tests' words."""

import json
from typing import Any

from playwright.sync_api import Locator, Page, expect


def search(page: Page, words: str) -> None:
    """Type into the search that is open and take the first that it finds."""
    field = page.locator(".picker-input")
    expect(field).to_be_focused()
    page.keyboard.type(words)
    expect(page.locator(".picker-body [role=option]").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(field).to_have_count(0)


def add(page: Page, words: str) -> None:
    """Add a node with the keyboard."""
    page.locator(".react-flow__pane").click(position={"x": 500, "y": 790})
    page.keyboard.press("Space")
    search(page, words)


PLACES = (
    "() => [...document.querySelectorAll('.react-flow__node, .react-flow__viewport')].map((box) => box.style.transform).join()"
)
STILL = f"""() => new Promise((done) => {{
    let before = "", same = 0;
    const look = () => {{
        const now = ({PLACES})();
        same = now === before ? same + 1 : 0;
        before = now;
        same > 20 ? done() : requestAnimationFrame(look);
    }};
    look();
}})"""


def arrange(page: Page) -> None:
    """Line the nodes up, and wait until the view has glided to them."""
    before = page.evaluate(PLACES)
    page.keyboard.press("l")
    page.wait_for_function(f"(before) => ({PLACES})() !== before", arg=before)
    page.evaluate(STILL)


def show_all(page: Page) -> None:
    """Fit the view to all nodes: what is out of view is not drawn, and nobody could click it."""
    page.evaluate(STILL)
    page.keyboard.press("f")
    page.evaluate(STILL)


def socket(page: Page, side: str, node: str, name: str) -> Locator:
    return page.get_by_test_id(f"socket-{side}-{node}-{name}")


def field(page: Page, node: str, name: str) -> Locator:
    return page.get_by_test_id(f"field-{node}-{name}").locator("input, textarea, select").first


def put(page: Page, node: str, name: str, value: str) -> None:
    """Type a value into a field of a node."""
    box = field(page, node, name)
    box.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(value)


def open_template(page: Page, name: str = "lora") -> None:
    page.keyboard.press("Alt+T")
    page.locator(".tile", has=page.get_by_text(name, exact=True)).click()
    expect(page.get_by_test_id("node-train")).to_be_visible()


def small_training(page: Page, steps: int) -> None:
    """The LoRA template on four pictures, for a few steps."""
    open_template(page)
    put(page, "images", "folder", "photos")
    put(page, "train", "max_steps", str(steps))
    put(page, "sample", "prompts", "flat style bread")
    put(page, "sample", "num_inference_steps", "2")


DROP_TEXT = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    document.querySelector(".app").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
}"""


def drop_document(page: Page, document: dict[str, Any]) -> None:
    """Drop a workflow on the page as a file, and wait until it is shown."""
    page.evaluate(DROP_TEXT, [f"{document['name']}.json", json.dumps(document)])
    expect(page.locator(".tab.current")).to_contain_text(document["name"])


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("tab", name="Run", exact=True).click()


def wait_for(page: Page, state: str) -> None:
    expect(page.locator(f".run-panel .state-word.{state}")).to_be_visible()
