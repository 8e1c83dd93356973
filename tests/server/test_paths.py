"""Paths that try to leave the workspace, and files that try to be run by the browser."""

import io
import os
import pickle
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image

from graph_runtime import workspace
from tests.server.conftest import Editor, document
from web.api import sending, thumbnails

OUT = [
    "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "%252e%252e%252fsecret.txt",
    "..%5csecret.txt", "..%5C..%5Csecret.txt", "%2fetc%2fpasswd", "/etc/passwd", "link.txt", "link/secret.txt",
    ".latentloom/server.lock", "%2elatentloom/server.lock", "x%00.txt", "C:%5Cwindows%5Cwin.ini", "C:secret.txt",
    "%5c%5chost%5cshare", "file:%2f%2f%2fetc%2fpasswd", "x" * 5000, "a%2f" * 2000, "%ff%fe", ".%2e/secret.txt", "~/x",
]  # fmt: skip
ROUTES = [
    "/api/files/content?path={}", "/api/files?path={}", "/api/dataset?folder={}", "/api/workflows/{}", "/api/templates/{}",
    "/api/templates/{}/picture", "/api/runs/{}", "/api/runs/{}/files/x", "/api/artifacts/{}/x", "/{}", "/assets/{}",
]  # fmt: skip
SECRET = b"nobody may read this"


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 20)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, "red").save(made, kind)
    return made.getvalue()


def outside(root: Path) -> list[Path]:
    """Everything around the workspace, its own state and the server's cache left out."""
    found = sorted(path for path in root.parent.iterdir() if path not in (root, root.parent / "cache"))
    return found + sorted((root / ".latentloom" / "drafts").rglob("*"))


def lay_traps(root: Path) -> None:
    (root.parent / "secret.txt").write_bytes(SECRET)
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "link").symlink_to(root.parent)
    (root / ".latentloom" / "server.lock").write_bytes(SECRET)


@pytest.mark.parametrize("address", ROUTES)
def test_no_path_leads_out(serve: Any, address: str) -> None:
    async def check(editor: Editor) -> None:
        lay_traps(editor.root)
        for path in OUT:
            answer = await editor.get(address.format(path))
            assert 400 <= answer.status < 500, path
            assert SECRET not in answer.content
            assert b"root:" not in answer.content

    serve(check)


@pytest.mark.parametrize("path", OUT)
def test_nothing_is_written_outside(serve: Any, path: str) -> None:
    async def check(editor: Editor) -> None:
        lay_traps(editor.root)
        before = outside(editor.root)
        body = {"document": document(), "revision": None}
        saved = await editor.send("PUT", f"/api/workflows/{path}", body)
        assert saved.status in (400, 404, 405) or (editor.root / "workflows" / saved.json["path"]).is_file()
        assert (await editor.send("DELETE", f"/api/workflows/{path}")).status in (204, 400, 404, 405)
        draft = {"draft": {"document": document(), "path": "", "saved_revision": "", "dirty": True}, "revision": None}
        assert (await editor.send("PUT", f"/api/drafts/{path}", draft)).status in (400, 404, 405)
        answer = await editor.ask(
            "POST", f"/api/files?name=a.txt&folder={path}", data=b"x",
            headers={"X-Latentloom-Token": editor.guard.token, "Content-Type": "application/octet-stream"},
        )  # fmt: skip
        assert answer.status == 400 or (editor.root / answer.json["path"]).resolve().is_relative_to(editor.root)
        assert outside(editor.root) == before
        assert (editor.root.parent / "secret.txt").read_bytes() == SECRET

    serve(check)


NAMES = [
    "CON.txt", "nul.txt", "com1.txt", "LPT9 .txt", "aux.tar.txt", "a:b.txt", "a\\b.txt", "../a.txt", "a/b.txt", "/a.txt",
    ".a.txt", "a.txt.", "a.txt ", " a.txt", "a\n.txt", "a\0.txt", "", "x" * 300 + ".txt", "a?.txt", "a\u202etxt.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_some_system_cannot_keep_is_refused(serve: Any, name: str) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.upload("", name, b"x")).status == 400
        assert not [path for path in editor.root.iterdir() if path.name != ".latentloom"]

    serve(check)


HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.mark.parametrize(
    "name", ["a.html", "a.htm", "a.xhtml", "a.svg", "a.svgz", "a.xml", "a.js", "a.mjs", "a.py", "a.exe", "a"]
)
@pytest.mark.parametrize("content", [HTML, SVG])
def test_what_a_browser_would_run_is_not_taken(serve: Any, name: str, content: bytes) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.upload("", name, content)).status == 415

    serve(check)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.safetensors"])
@pytest.mark.parametrize("content", [HTML, SVG, pickle.dumps({"a": 1}), b""], ids=["html", "svg", "pickle", "nothing"])
def test_content_that_is_not_what_the_name_says_is_not_taken(serve: Any, name: str, content: bytes) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.upload("", name, content)).status == 415
        assert not (editor.root / name).exists()

    serve(check)


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.pth", "m.bin", "m.pkl", "m.PICKLE", "m.npy", "m.safetensors.ckpt"])
def test_pickles_are_not_taken(serve: Any, name: str) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.upload("", name, pickle.dumps({"a": 1}))).status == 415

    serve(check)


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.js", "a.png", "a.txt", "a.pdf", "a.xml"])
@pytest.mark.parametrize("content", [HTML, SVG])
def test_files_that_are_there_are_never_served_as_a_page(serve: Any, name: str, content: bytes) -> None:
    async def check(editor: Editor) -> None:
        (editor.root / name).write_bytes(content)
        (editor.root / f"{name}.gz").write_bytes(b"never this one")
        answer = await editor.get(f"/api/files/content?path={name}", Accept_Encoding="gzip")
        assert answer.content == content
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    serve(check)


def test_a_picture_is_shown_and_a_range_of_it_sent(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (editor.root / "a b.png").write_bytes(picture())
        answer = await editor.get("/api/files/content?path=a%20b.png")
        assert (answer.headers["Content-Type"], answer.content) == ("image/png", picture())
        assert answer.headers["Content-Disposition"].startswith("inline")
        part = await editor.get("/api/files/content?path=a%20b.png", Range="bytes=1-3")
        assert (part.status, part.content) == (206, b"PNG")

    serve(check)


def test_a_small_version_is_a_webp_of_the_wanted_side(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (editor.root / "a.png").write_bytes(picture(size=(600, 300)))
        answer = await editor.get("/api/files/content?path=a.png&thumbnail=256")
        assert answer.headers["Content-Type"] == "image/webp"
        assert Image.open(io.BytesIO(answer.content)).size == (256, 128)
        assert len(list((editor.services.settings.state / "thumbnails").iterdir())) == 1
        for side in ("0", "-1", "99999", "x"):
            assert (await editor.get(f"/api/files/content?path=a.png&thumbnail={side}")).status == 400

    serve(check)


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MAX_PIXELS", 100 * 100)

    async def check(editor: Editor) -> None:
        (editor.root / "bomb.png").write_bytes(picture(size=(101, 100)))
        (editor.root / "broken.png").write_bytes(picture()[:40])
        (editor.root / "page.png").write_bytes(HTML)
        for name in ("bomb", "broken", "page"):
            assert (await editor.get(f"/api/files/content?path={name}.png&thumbnail=64")).status == 422

    serve(check)


def test_what_is_no_picture_or_too_large_is_not_even_read(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: IO[bytes]) -> str:
        raise AssertionError(f"{file.name} was read")

    monkeypatch.setattr(thumbnails, "digest_of", read)
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 100)

    async def check(editor: Editor) -> None:
        (editor.root / "model.safetensors").write_bytes(b"weights")
        (editor.root / "large.png").write_bytes(picture().ljust(101))
        for name in ("model.safetensors", "large.png"):
            assert (await editor.get(f"/api/files/content?path={name}&thumbnail=64")).status == 422

    serve(check)


def test_only_the_newest_small_versions_are_kept(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "TIDIED_EVERY", 4)
    monkeypatch.setattr(thumbnails, "MAX_DIGESTS", 2)

    async def check(editor: Editor) -> None:
        made = []
        for side in range(5):
            (editor.root / f"{side}.png").write_bytes(picture(size=(40 + side, 20)))
            sent = await editor.get(f"/api/files/content?path={side}.png&thumbnail=64")
            made.append(sent.content)
            monkeypatch.setattr(thumbnails, "MAX_KEPT_BYTES", len(made[-1]) + 1)
        folder = editor.services.settings.state / "thumbnails"
        assert [place.read_bytes() for place in folder.iterdir()] == made[-1:]
        assert len(editor.services.thumbnails._digests) <= 2

    serve(check)


def test_a_pipe_is_not_read(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (editor.root / "workflows").mkdir()
        for name in ("pipe.png", "pipe.txt", "pipe.json", "pipe.safetensors", "workflows/pipe.json"):
            os.mkfifo(editor.root / name)
        (editor.root / "pipe.webp").write_bytes(picture())
        for address in ("content?path=pipe.png", "content?path=pipe.png&thumbnail=64"):
            assert (await editor.get(f"/api/files/{address}")).status == 404
        for address in ("files", "workflows", "models", "dataset?folder=."):
            assert (await editor.get(f"/api/{address}")).status == 200, address
        assert (await editor.get("/api/workflows/pipe.json")).status == 404

    serve(check)


@pytest.mark.parametrize("address", ["content?path=d/a.png", "content?path=d/a.png&thumbnail=64"])
def test_a_link_that_is_put_in_the_way_while_a_file_is_sent_is_not_followed(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(picture(size=(50, 20)))

    async def check(editor: Editor) -> None:
        folder = editor.root / "d"
        folder.mkdir()
        (folder / "a.png").write_bytes(picture())
        expected = (await editor.get(f"/api/files/{address}")).content

        def swap() -> None:
            if not folder.is_symlink():
                folder.rename(editor.root / "kept")
                folder.symlink_to(outside)

        def before(module: Any, name: str) -> None:
            original = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *given: (swap(), original(*given))[1])

        before(thumbnails if "thumbnail" in address else sending, "raster_type")
        assert (await editor.get(f"/api/files/{address}")).content == expected, "the file that was opened is sent"
        monkeypatch.undo()
        folder.unlink()
        (editor.root / "kept").rename(folder)
        before(workspace, "open_below")
        assert (await editor.get(f"/api/files/{address}")).status == 404

    serve(check)
