"""A training graph from nothing, with mouse and keyboard, on the real server."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from graph_runtime.discovery import load_palette
from graph_runtime.node import NodeType, accepts
from nodes.diffusion.handles.datasets import ImageDataset
from tests.browser.hands import add, arrange, field, open_template, put, run, search, show_all, socket, wait_for
from tests.browser.machines import Server

OVERLAPS = """() => {
    const boxes = [...document.querySelectorAll('.react-flow__node')].map((node) => node.getBoundingClientRect());
    const isOver = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    return boxes.flatMap((a, index) => boxes.slice(index + 1).filter((b) => isOver(a, b))).length;
}"""


def drag(page: Page, start: Any, goal: Any) -> None:
    a, b = start.bounding_box(), goal.bounding_box()
    page.mouse.move(a["x"] + a["width"] / 2, a["y"] + a["height"] / 2)
    page.mouse.down()
    page.mouse.move(b["x"] + b["width"] / 2 - 4, b["y"] + b["height"] / 2, steps=8)
    page.mouse.move(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2, steps=2)


def build(page: Page) -> None:
    """Wire the LoRA graph: the first nodes by keyboard, the last wires by mouse."""
    add(page, "load model")
    for node, output, words in (
        ("load_model", "output", "inject"),
        ("inject_lora", "output", "train lora"),
        ("train_lora", "output", "save safetensors"),
    ):
        socket(page, "out", node, output).focus()
        page.keyboard.press("Enter")
        search(page, words)
    add(page, "load images")
    socket(page, "out", "load_images", "output").focus()
    page.keyboard.press("Enter")
    search(page, "caption dataset")
    for node, words in (("caption_dataset", "encode captions"), ("load_images", "encode latents")):
        show_all(page)
        socket(page, "out", node, "output").focus()
        page.keyboard.press("Enter")
        search(page, words)
    page.keyboard.press("Escape")
    show_all(page)
    assert page.evaluate(OVERLAPS) == 0
    arrange(page)
    for source, target, name in (
        ("load_model", "encode_captions", "model"),
        ("load_model", "encode_latents", "model"),
        ("encode_captions", "train_lora", "embeddings"),
        ("encode_latents", "train_lora", "latents"),
    ):
        drag(page, socket(page, "out", source, "output"), socket(page, "in", target, name))
        page.mouse.up()
    expect(page.locator(".react-flow__edge")).to_have_count(10)


def test_a_lora_from_nothing(page: Page, server: Server) -> None:
    build(page)
    put(page, "load_images", "folder", "photos")
    field(page, "caption_dataset", "source").select_option("file name")
    put(page, "train_lora", "max_steps", "4")
    put(page, "train_lora", "batch_size", "2")
    page.get_by_test_id("node-train_lora").get_by_role("button", name="Watching").click()
    put(page, "train_lora", "preview_every", "2")
    put(page, "train_lora", "preview_prompt", "bread")
    page.get_by_test_id("node-train_lora").get_by_role("button", name="Watching").click()
    put(page, "save_safetensors", "filename", "first.safetensors")
    run(page)
    expect(page.get_by_test_id("node-train_lora").locator(".chart canvas")).to_be_visible()
    expect(page.get_by_test_id("node-train_lora").locator(".previews img")).to_be_visible()
    wait_for(page, "succeeded")
    assert (server.workspace / "outputs" / "first.safetensors").is_file()
    assert set(server.outcome().values()) == {"executed"}
    slider = page.get_by_test_id("node-train_lora").get_by_role("slider", name="Step of the preview")
    slider.press("ArrowLeft")
    expect(page.get_by_test_id("node-train_lora").locator("figcaption")).to_contain_text("step 2")

    # one field changes: what does not depend on it comes from the cache, and the editor says so before running
    expect(page.get_by_test_id("node-train_lora").get_by_label("In the cache")).to_be_visible()
    put(page, "train_lora", "seed", "7")
    expect(page.get_by_test_id("node-train_lora").get_by_label("In the cache")).to_have_count(0)
    expect(page.get_by_test_id("node-encode_latents").get_by_label("In the cache")).to_be_visible()
    run(page)
    wait_for(page, "running")
    wait_for(page, "succeeded")
    states = server.outcome()
    assert {node for node, state in states.items() if state == "executed"} == {"train_lora", "save_safetensors"}

    # undo all the way
    page.locator(".react-flow__pane").click(position={"x": 20, "y": 780})
    for _ in range(60):
        page.keyboard.press("Control+Z")
    expect(page.locator(".react-flow__node")).to_have_count(0)
    for _ in range(60):
        page.keyboard.press("Control+Shift+Z")
    expect(page.locator(".react-flow__edge")).to_have_count(10)
    expect(field(page, "train_lora", "seed")).to_have_value("7")


def test_a_wire_that_does_not_fit_says_why(page: Page) -> None:
    add(page, "load images")
    page.keyboard.press("Escape")
    add(page, "inject lora")
    page.keyboard.press("Escape")
    arrange(page)
    drag(page, socket(page, "out", "load_images", "output"), socket(page, "in", "inject_lora", "model"))
    expect(page.locator(".wiring-hint")).to_have_text("This carries an image dataset; a diffusion model is needed.")
    page.mouse.up()
    expect(page.locator(".react-flow__edge")).to_have_count(0)


def _takes(node: NodeType, kind: type) -> bool:
    return any(accepts(socket.type, kind) for socket in node.inputs.values() if not socket.is_field)


def test_a_wire_dropped_on_the_canvas_finds_what_fits(page: Page) -> None:
    add(page, "load images")
    start = socket(page, "out", "load_images", "output").bounding_box()
    assert start
    page.mouse.move(start["x"] + 6, start["y"] + 6)
    page.mouse.down()
    page.mouse.move(start["x"] + 150, start["y"] - 120, steps=6)
    page.mouse.up()
    options = page.locator(".picker-body [role=option] .label")
    expect(options.first).to_be_visible()
    fitting = {node.title for node in load_palette().types.values() if _takes(node, ImageDataset)}
    assert {"Caption Dataset", "Encode Latents"} <= fitting
    assert set(options.all_inner_texts()) == fitting
    search(page, "latents")
    expect(page.locator(".react-flow__edge")).to_have_count(1)


def test_a_field_names_its_problem_while_typing(page: Page) -> None:
    add(page, "inject lora")
    put(page, "inject_lora", "rank", "9999")
    expect(page.get_by_test_id("field-inject_lora-rank").get_by_role("status")).to_have_text("At most 320.")


def test_what_will_not_run_is_greyed_and_a_node_is_put_before_the_input_it_feeds(page: Page) -> None:
    open_template(page)
    latents = page.get_by_test_id("node-latents")
    latents.locator(".card-header .category").click()
    page.keyboard.press("b")
    expect(page.locator(".toast")).to_contain_text("Encode Latents: nothing that arrives can stand for what comes out")
    expect(latents).not_to_have_class(re.compile("bypassed"))
    page.keyboard.press("m")
    train = page.get_by_test_id("node-train")
    expect(train).to_have_class(re.compile("dropped"))
    expect(train.locator(".badge.skipped")).to_have_attribute("title", "Does not run: latents is muted.")
    expect(page.locator(".wire-order")).to_have_text(["a", "b"])
    plug = socket(page, "in", "train", "captions")
    drag(page, plug, plug)
    page.mouse.move(700, 120, steps=5)
    page.mouse.up()
    expect(page.get_by_role("dialog", name="Wire into captions")).to_be_visible()
    search(page, "caption dataset")
    new = page.get_by_test_id("node-caption_dataset").bounding_box()
    assert new
    assert new["x"] + new["width"] <= 704
