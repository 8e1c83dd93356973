"""Runs outlive pages, workers and servers."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.hands import field, open_template, put, run, small_training, wait_for
from tests.browser.machines import Server

DROP = """async ([url, name]) => {
    const blob = await (await fetch(url)).blob();
    const data = new DataTransfer();
    data.items.add(new File([blob], name));
    document.querySelector('.app').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
}"""


def train_step(page: Page) -> int:
    """How far the training has come, as the Run panel says."""
    text = page.locator(".facts").inner_text()
    return int(text.split(" of ")[0].split()[-1]) if " of " in text else 0


def wait_for_step(page: Page, step: int) -> None:
    while train_step(page) < step:
        page.wait_for_timeout(200)


def test_a_page_that_is_loaded_anew_sees_the_same_run(page: Page, server: Server) -> None:
    small_training(page, 40)
    run(page)
    wait_for_step(page, 5)
    page.reload()
    expect(field(page, "train", "max_steps")).to_have_value("40")
    expect(page.get_by_test_id("node-train").locator(".chart canvas")).to_be_visible()
    wait_for(page, "succeeded")
    steps = page.get_by_test_id("node-train").locator(".chart").get_attribute("aria-label")
    assert steps
    assert "at step 40" in steps


def test_a_killed_worker_fails_its_node_and_the_next_run_goes_on(page: Page, server: Server) -> None:
    small_training(page, 60)
    put(page, "train", "batch_size", "3")
    run(page)
    wait_for_step(page, 3)
    server.worker().kill()
    wait_for(page, "failed")
    expect(page.get_by_test_id("node-train").get_by_role("alert")).to_contain_text("killed")
    put(page, "train", "max_steps", "4")
    run(page)
    wait_for(page, "succeeded")


def test_a_killed_server_finishes_the_run_after_its_restart(page: Page, server: Server) -> None:
    small_training(page, 30)
    put(page, "train", "batch_size", "4")
    run(page)
    wait_for_step(page, 5)
    server.kill()
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    server.start()
    wait_for(page, "succeeded")
    assert server.outcome()["train"] == "executed"


def test_stop_stops(page: Page, server: Server) -> None:
    small_training(page, 500)
    run(page)
    wait_for_step(page, 2)
    page.get_by_role("button", name="Stop").click()
    wait_for(page, "cancelled")


def test_artifacts_bring_their_graph_back(page: Page, server: Server) -> None:
    small_training(page, 2)
    run(page)
    wait_for(page, "succeeded")
    for artifact in server.get("/api/artifacts")["artifacts"]:
        page.evaluate(DROP, [artifact["url"], artifact["name"]])
        expect(page.get_by_text(f"Opened the graph of {artifact['name']}.")).to_be_visible()
        expect(field(page, "train", "max_steps")).to_have_value("2")
    expect(page.locator(".tab")).to_have_count(3)


def test_two_pages_cannot_overwrite_each_other(open_page: Callable[..., Page], server: Server) -> None:
    first = open_page()
    open_template(first)
    first.keyboard.press("Control+S")
    first.get_by_label("Name", exact=True).last.fill("shared")
    first.keyboard.press("Enter")
    expect(first.get_by_text("Saved as shared.json.")).to_be_visible()
    while [draft["draft"]["path"] for draft in server.get("/api/drafts")["drafts"]] != ["shared.json"]:
        first.wait_for_timeout(100)
    second = open_page()
    expect(second.get_by_test_id("node-train")).to_be_visible()
    for page, steps in ((first, "11"), (second, "22")):
        put(page, "train", "max_steps", steps)
        page.keyboard.press("Control+S")
    expect(second.get_by_text("The file has changed")).to_be_visible()
    assert server.get("/api/workflows/shared.json")["document"]["nodes"]["train"]["fields"]["max_steps"] == 11
    second.get_by_role("button", name="Save under another name").click()
    expect(field(second, "train", "max_steps")).to_have_value("22")


def test_every_template_opens_without_a_problem(page: Page, server: Server) -> None:
    templates = server.get("/api/templates")["workflows"]
    assert templates
    for template in templates:
        page.keyboard.press("Alt+T")
        page.locator(".tile", has=page.get_by_text(template["name"], exact=True)).click()
        expect(page.locator(".tab.current")).to_contain_text(template["name"])
        expect(page.get_by_text("No problems")).to_be_visible()
        expect(page.locator(".react-flow__node-card")).to_have_count(template["nodes"])
        expect(page.locator(".has-problems")).to_have_count(0)
