"""The view of a data set says what a run would say of it."""

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.hands import drop_document
from tests.browser.machines import Server


def test_repeats_and_what_is_left_out_are_shown(page: Page, server: Server) -> None:
    folder = server.workspace / "mine"
    for name in ("3_cat", "2019_summer"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), "tomato").save(folder / name / "a.avif")
    (folder / "scan.psd").write_bytes(b"x")
    (folder / "3_cat" / "a.caption").write_bytes("café".encode("cp1252"))
    nodes = {"images": {"type": "LoadImages", "fields": {"folder": "mine"}}}
    drop_document(page, {"format": "latentloom/1", "name": "one", "nodes": nodes, "wires": []})
    page.get_by_test_id("field-images-folder").get_by_role("button", name="Show pictures").click()
    view = page.locator(".dialog.dataset")
    expect(view.get_by_text("2 pictures · 4 in an epoch, with repeats")).to_be_visible()
    expect(view.get_by_text("3_cat/a.avif · 64×64 · 3 times")).to_be_visible()
    expect(view.get_by_label("Caption of 3_cat/a.avif")).to_have_value("café")
    notes = view.get_by_label("What to know of this folder").get_by_role("listitem")
    expect(notes).to_have_count(4)
    expect(notes.first).to_have_text("scan.psd is left out: .psd is not read, so convert to PNG.")
    for picture in view.locator("img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
