"""A node package's own widget edits a field on the page."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.hands import add, field, put, search
from tests.browser.machines import Server
from tests.graph_runtime.supervised_server import install_sample_package


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_sample_package(tmp_path, monkeypatch)


def test_a_packages_widget_edits_its_field(page: Page, server: Server) -> None:
    add(page, "rate")
    stars = page.get_by_test_id("field-rate-stars").locator(".package-widget button")
    expect(stars).to_have_count(5)
    assert stars.all_inner_texts() == ["★", "☆", "☆", "☆", "☆"]
    page.get_by_test_id("field-rate-stars").get_by_role("button", name="4 stars").click()
    expect(stars.nth(3)).to_have_text("★")
    page.locator(".react-flow__pane").click(position={"x": 500, "y": 790})
    page.keyboard.press("Control+z")
    expect(stars.nth(3)).to_have_text("☆")
    expect(stars.nth(1)).to_have_text("☆")
    page.keyboard.press("Control+Shift+z")
    expect(stars.nth(3)).to_have_text("★")
    page.keyboard.press("Control+s")
    page.locator("#save-name").fill("rated")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved as rated.json.")).to_be_visible()
    saved = json.loads((server.workspace / "workflows" / "rated.json").read_text(encoding="utf-8"))
    assert saved["nodes"]["rate"]["fields"] == {"stars": 4}


@pytest.mark.filterwarnings("default")
def test_a_widget_that_does_not_load_leaves_the_plain_field(page: Page) -> None:
    add(page, "rate")
    box = page.get_by_test_id("field-rate-flavor")
    expect(box).to_contain_text("does not load")
    put(page, "rate", "flavor", "sweet")
    expect(field(page, "rate", "flavor")).to_have_value("sweet")


@pytest.mark.filterwarnings("default")
def test_a_widget_that_does_not_load_says_nothing_of_the_next_one(page: Page) -> None:
    add(page, "rate")
    box = page.get_by_test_id("field-rate-flavor")
    expect(box).to_contain_text("does not load")
    page.get_by_test_id("node-rate").locator("header").click()
    page.keyboard.press("Shift+R")
    search(page, "season")
    expect(box.locator(".package-widget button")).to_have_count(5)
    expect(box).not_to_contain_text("does not load")
