"""From a person's own pictures to a node that reads them, in two actions."""

from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.hands import add, drop_document, field
from tests.browser.machines import Server


def make_pictures(folder: Path) -> Path:
    """Three pictures with captions; one of each in a folder of their own."""
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "b", "inner/c"):
        Image.new("RGB", (64, 64), "tomato").save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"picture {name}")
    (folder / ".DS_Store").write_bytes(b"hidden")
    return folder


def drop(page: Page, files: list[Path], x: float, y: float) -> None:
    """Drop files and folders of the disk, as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})


def test_pictures_that_are_dropped_become_a_data_set(page: Page, server: Server) -> None:
    home = make_pictures(server.workspace.parent / f"{server.workspace.name}-home" / "My cats")
    page.keyboard.press("Escape")
    drop(page, [home], 500, 500)
    expect(page.get_by_role("heading", name="Make a data set of 3 pictures")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text("6 files uploaded to datasets/My cats.")).to_be_visible()
    expect(field(page, "load_images", "folder")).to_have_value("datasets/My cats")
    made = server.workspace / "datasets" / "My cats"
    assert sorted(path.name for path in made.rglob("*.*")) == ["a.png", "a.txt", "b.png", "b.txt", "c.png", "c.txt"]
    assert (made / "inner" / "c.txt").read_text() == "picture inner/c"

    add(page, "load images")
    node = page.get_by_test_id("node-load_images_2")
    box = node.bounding_box()
    assert box
    drop(page, [home / "a.png", home / "a.txt"], box["x"] + 40, box["y"] + 10)
    name = page.get_by_label("Name of the data set")
    expect(name).to_have_value("pictures")
    page.keyboard.press("Enter")
    expect(field(page, "load_images_2", "folder")).to_have_value("datasets/pictures")
    assert (server.workspace / "datasets" / "pictures" / "a.txt").is_file()


def test_pictures_are_uploaded_from_the_field(page: Page, server: Server) -> None:
    home = make_pictures(server.workspace.parent / f"{server.workspace.name}-home")
    drop_document(page, {"format": "latentloom/1", "name": "one", "nodes": {"images": {"type": "LoadImages"}}, "wires": []})
    page.get_by_test_id("field-images-folder").get_by_label("Upload pictures").set_input_files([home / "a.png", home / "a.txt"])
    page.get_by_label("Name of the data set").fill("mine")
    page.keyboard.press("Enter")
    expect(field(page, "images", "folder")).to_have_value("datasets/mine")
    page.get_by_test_id("field-images-folder").get_by_role("button", name="Browse").click()
    page.locator(".dialog.files").get_by_label("Upload a folder").set_input_files(home)
    page.get_by_label("Name of the data set").fill("mine")
    expect(page.get_by_text("There is a data set mine already.")).to_be_visible()
    page.get_by_label("Name of the data set").fill("all")
    page.keyboard.press("Enter")
    expect(field(page, "images", "folder")).to_have_value("datasets/all")
    assert (server.workspace / "datasets" / "all" / "inner" / "c.png").is_file()
