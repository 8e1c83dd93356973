"""The workspace's files, models and datasets."""

import errno
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graph_runtime.workspace import Workspace
from nodes.models.load_model import BUNDLED
from tests.server.conftest import Editor
from tests.server.test_paths import picture
from web.api import device


def test_a_folder_is_listed_with_kinds(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (editor.root / "deep" / "er").mkdir(parents=True)
        (editor.root / "model").mkdir()
        (editor.root / "model" / "model_index.json").write_text("{}")
        (editor.root / "a.PNG").write_bytes(picture())
        (editor.root / "w.json").write_text('{"format": "latentloom/1"}')
        (editor.root / "other.json").write_text("{}")
        (editor.root / "lora.safetensors").write_bytes(b"x")
        (editor.root / "out").symlink_to("/etc")
        listed = (await editor.get("/api/files")).json
        assert {entry["name"]: entry["kind"] for entry in listed["entries"]} == {
            "deep": "folder", "model": "model", "a.PNG": "image", "w.json": "workflow", "other.json": "file",
            "lora.safetensors": "model",
        }  # fmt: skip
        assert (listed["path"], listed["parent"], listed["images"]) == ("", None, 1)
        inner = (await editor.get("/api/files?path=deep/er")).json
        assert (inner["path"], inner["parent"], inner["entries"]) == ("deep/er", "deep", [])
        assert (await editor.get("/api/files?path=a.PNG")).status == 404

    serve(check)


def test_an_upload_never_overwrites(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        paths = [(await editor.upload("new/set", "a.png", picture())).json["path"] for _ in range(3)]
        assert paths == ["new/set/a.png", "new/set/a-2.png", "new/set/a-3.png"]
        assert (editor.root / paths[2]).read_bytes() == picture()
        assert (await editor.upload("", "c.txt", b"caption")).json["path"] == "c.txt"
        smallest = b"\x02\0\0\0\0\0\0\0{}"
        assert (await editor.upload("", "m.safetensors", smallest)).status == 200
        assert not list(editor.services.settings.state.glob("upload-*"))

    serve(check)


def test_an_upload_needs_no_links(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    async def check(editor: Editor) -> None:
        monkeypatch.setattr(os, "link", refuse)
        paths = [(await editor.upload("", "a.png", picture())).json["path"] for _ in range(2)]
        assert paths == ["a.png", "a-2.png"]
        assert (editor.root / "a-2.png").read_bytes() == picture()

    serve(check)


def test_what_a_killed_server_had_not_received_to_the_end_is_removed(serve: Any, tmp_path: Path) -> None:
    (state := tmp_path / "workspace" / ".latentloom").mkdir()
    (state / "upload-abc.png").write_bytes(picture()[:40])

    async def check(editor: Editor) -> None:
        assert not list(state.glob("upload-*"))

    serve(check)


def test_models_are_the_bundled_one_and_those_in_the_workspace(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        shutil.copytree(BUNDLED["loom-emoji"], editor.root / "models" / "mine")
        (editor.root / "models" / "broken").mkdir()
        (editor.root / "models" / "broken" / "model_index.json").write_text("{}")
        assert (await editor.get("/api/models")).json["models"] == [
            {"reference": "loom-emoji", "title": "loom-emoji", "family": "sd1"},
            {"reference": "models/mine", "title": "mine", "family": "sd1"},
        ]

    serve(check)


def make_dataset(folder: Path) -> None:
    folder.mkdir()
    (folder / "wide.png").write_bytes(picture(size=(200, 100)))
    turned, made = Image.new("RGB", (200, 100)), io.BytesIO()
    (exif := Image.Exif())[0x0112] = 6
    turned.save(made, "JPEG", exif=exif)
    (folder / "turned.jpg").write_bytes(made.getvalue())
    (folder / "broken.png").write_bytes(b"<html>")
    (folder / ".hidden.png").write_bytes(picture())
    (folder / "scan.heif").write_bytes(b"x")
    (folder / "wide.txt").write_text("a wide one\n")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "turned.jpg", "text": "upright"}))


def test_a_dataset_is_shown_as_training_sees_it(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        make_dataset(editor.root / "set")
        shown = (await editor.get("/api/dataset?folder=set&resolution=128&buckets=true&bucket_step=32")).json
        items = {item["name"]: item for item in shown["items"]}
        assert items.keys() == {"broken.png", "turned.jpg", "wide.png"}
        assert (items["wide.png"]["bucket"], items["wide.png"]["caption"]) == ("160x96", "a wide one")
        turned = items["turned.jpg"]
        assert (turned["width"], turned["height"], turned["bucket"], turned["caption"]) == (100, 200, "96x160", "upright")
        assert (items["broken.png"]["bucket"], items["broken.png"]["caption"]) == ("", None)
        assert items["broken.png"]["problem"]
        assert [note.partition(" (")[0] for note in shown["notes"]] == [
            "scan.heif is left out: .heif needs the package pillow-heif"
        ]
        small = await editor.get(f"/api/files/content?path={turned['path']}&thumbnail=64")
        assert Image.open(io.BytesIO(small.content)).size == (32, 64)
        square = (await editor.get("/api/dataset?folder=set&resolution=64")).json
        assert {item["bucket"] for item in square["items"]} == {"64x64", ""}
        assert (await editor.get("/api/dataset?folder=set&resolution=63")).status == 400

    serve(check)


def test_the_pictures_of_a_template_are_shown_anywhere_but_never_written_to(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        shown = (await editor.get("/api/dataset?folder=workflows/pictures/line")).json
        assert len(shown["items"]) == 60
        name, path = shown["items"][0]["name"], shown["items"][0]["path"]
        assert (await editor.get(f"/api/files/content?path={path}")).headers["Content-Type"] == "image/webp"
        body = {"folder": "workflows/pictures/line", "captions": {name: "mine"}, "seen": {}}
        assert (await editor.send("PUT", "/api/dataset/captions", body)).status == 404

    serve(check)


def test_captions_are_written_beside_their_pictures_all_or_none(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        make_dataset(editor.root / "set")
        seen = {"wide.png": "a wide one", "turned.jpg": "upright"}
        body = {"folder": "set", "captions": {"wide.png": "changed, ü", "turned.jpg": ""}, "seen": seen}
        assert (await editor.send("PUT", "/api/dataset/captions", body)).status == 204
        assert (editor.root / "set" / "wide.txt").read_text(encoding="utf-8") == "changed, ü\n"
        for name in ("../../x.png", "none.png", "metadata.jsonl", "/etc/passwd"):
            wrong = {"folder": "set", "captions": {"wide.png": "again", name: "x"}, "seen": {"wide.png": "changed, ü"}}
            assert (await editor.send("PUT", "/api/dataset/captions", wrong)).status in (400, 404)
        assert (editor.root / "set" / "wide.txt").read_text(encoding="utf-8") == "changed, ü\n"
        assert (await editor.send("PUT", "/api/dataset/captions", body)).status == 409, "it has changed since it was seen"

    serve(check)


def test_a_name_that_is_no_text_breaks_no_list(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for folder in ("set", "workflows"):
            (editor.root / folder).mkdir()
        odd = os.fsdecode(b"\xff")
        for name in (f"set/{odd}.png", f"{odd}.png", f"workflows/{odd}.json", "set/fine.png"):
            (editor.root / name).write_bytes(picture())
        shutil.copytree(BUNDLED["loom-emoji"], editor.root / odd, symlinks=True)
        (editor.root / "set" / "metadata.jsonl").write_text('{"file_name": "fine.png", "text": "a\\ud800"}')
        entries = (await editor.get("/api/files")).json["entries"]
        assert "set" in [entry["name"] for entry in entries]
        shown = (await editor.get("/api/dataset?folder=set")).json
        assert [(item["name"], item["caption"], item["problem"]) for item in shown["items"]] == [("fine.png", "a?", "")]
        assert shown["notes"] == ["?.png is left out: its name is not text (UTF-8), so rename it."]
        assert (await editor.get("/api/workflows")).json == {"workflows": []}
        assert len((await editor.get("/api/models")).json["models"]) == 1

    serve(check)


async def captioned(editor: Editor, folder: str, **captions: str) -> int:
    """Give pictures that have no captions these; return the status."""
    body = {"folder": folder, "captions": captions, "seen": dict.fromkeys(captions)}
    return (await editor.send("PUT", "/api/dataset/captions", body)).status


def test_pictures_that_share_a_caption_file_get_no_two_captions(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (folder := editor.root / "set").mkdir()
        for name in ("a.png", "a.jpg"):
            (folder / name).write_bytes(picture())
        assert await captioned(editor, "set", **{"a.png": "one", "a.jpg": "two"}) == 409
        assert not (folder / "a.txt").exists()
        assert await captioned(editor, "set", **{"a.png": "same ", "a.jpg": "same"}) == 204
        assert (folder / "a.txt").read_text() == "same\n"

    serve(check)


def test_every_picture_that_is_listed_can_be_captioned(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (folder := editor.root / "set").mkdir()
        (editor.root / "elsewhere.png").write_bytes(picture())
        (folder / "what?.png").write_bytes(picture())
        (folder / "linked.png").symlink_to("../elsewhere.png")
        assert await captioned(editor, str(folder), **{"what?.png": "one", "linked.png": "two"}) == 204
        shown = (await editor.get("/api/dataset?folder=set")).json["items"]
        assert {item["name"]: item["caption"] for item in shown} == {"what?.png": "one", "linked.png": "two"}
        (folder / "linked.txt").unlink()
        (folder / "linked.txt").symlink_to(editor.root.parent / "outside.txt")
        assert await captioned(editor, "set", **{"linked.png": "two"}) == 400
        assert not (editor.root.parent / "outside.txt").exists()

    serve(check)


def test_a_dataset_shows_repeats_guesses_and_captions_of_other_programs(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for name in ("3_cat", "2019_summer"):
            (folder := editor.root / "set" / name).mkdir(parents=True)
            (folder / "a.png").write_bytes(picture())
        (editor.root / "set" / "3_cat" / "a.caption").write_bytes("café".encode("cp1252"))
        shown = (await editor.get("/api/dataset?folder=set")).json
        assert [(item["name"], item["repeats"], item["caption"]) for item in shown["items"]] == [
            ("2019_summer/a.png", 1, None), ("3_cat/a.png", 3, "café"),
        ]  # fmt: skip
        starts = ("3_cat/a.caption is read as Windows-1252", "2019_summer is taken for a name", "3_cat: 1 picture, 3 times")
        assert all(note.startswith(start) for note, start in zip(shown["notes"], starts, strict=True))
        body = {"folder": "set", "captions": {"3_cat/a.png": "tea"}, "seen": {"3_cat/a.png": "café"}}
        assert (await editor.send("PUT", "/api/dataset/captions", body)).status == 204
        assert (editor.root / "set" / "3_cat" / "a.caption").read_text() == "tea\n", "the file that it came from"

    serve(check)


def test_what_is_wrong_with_one_file_of_a_dataset_stands_on_its_picture(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    open_as_usual = Workspace.open

    def open_some(workspace: Workspace, path: str) -> Any:
        if Path(path).name in ("locked.png", "kept.txt"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return open_as_usual(workspace, path)

    async def check(editor: Editor) -> None:
        (folder := editor.root / "set").mkdir()
        for name in ("fine", "foreign", "kept", "locked"):
            (folder / f"{name}.png").write_bytes(picture())
            (folder / f"{name}.txt").write_text(name)
        (folder / "foreign.txt").write_bytes("кошка на столе".encode("cp1251"))
        monkeypatch.setattr(Workspace, "open", open_some)
        shown = (await editor.get("/api/dataset?folder=set")).json["items"]
        assert [(item["name"], item["caption"], item["bucket"], item["problem"]) for item in shown] == [
            ("fine.png", "fine", "128x128", ""),
            ("foreign.png", None, "128x128",
             "Its caption: the encoding of foreign.txt cannot be told. Save it as UTF-8."),
            ("kept.png", None, "128x128", "Its caption: kept.txt cannot be read: it does not open. "
             "Change its permissions, or move it elsewhere."),
            ("locked.png", "locked", "", "It cannot be read: it does not open."),
        ]  # fmt: skip
        assert await captioned(editor, "set", **{"foreign.png": "cat"}) == 422, "nobody has seen what it would replace"
        assert await captioned(editor, "set", **{"fine.png": "cat"}) == 409

    serve(check)


def test_the_device_is_measured(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        device = (await editor.get("/api/device")).json
        assert 0 < device["memory_used"] < device["memory_total"]

    serve(check)


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("", 0), ("-1", 0), ("2", 1), ("2,0", 2), ("0,7,1", 1), ("GPU-1a2b, 1", 2)]
)
def test_devices_are_those_that_cuda_may_see(monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int) -> None:
    monkeypatch.setattr(device, "_gpus", lambda: [("a GPU", 0, 1)] * 3)
    monkeypatch.setattr(device.sys, "platform", "linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.available_devices() == (tuple(f"cuda:{number}" for number in range(count)) or ("cpu",))
