"""Which kinds of pictures are read, with and without the packages that add some."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from nodes.diffusion.pictures.picture_kinds import extra_formats, picture_type, readable_suffixes, unread_because


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """What is installed is asked once in a process."""
    for remembered in (readable_suffixes, extra_formats):
        remembered.cache_clear()
    yield
    for remembered in (readable_suffixes, extra_formats):
        remembered.cache_clear()


def test_a_package_that_is_installed_adds_its_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    package = SimpleNamespace(register_heif_opener=lambda: called.append("HEIF"))
    monkeypatch.setattr("nodes.diffusion.pictures.picture_kinds.find_spec", lambda name: name == "pillow_heif")
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert {".heic", ".heif", ".hif", ".png"} < readable_suffixes()
    assert ".jxl" not in readable_suffixes()
    assert unread_because("a.HEIC") == ""
    assert extra_formats() == ("HEIF",)
    assert called == ["HEIF"]


def test_without_it_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.diffusion.pictures.picture_kinds.find_spec", lambda name: None)
    assert extra_formats() == ()
    assert unread_because("a.JXL").startswith(".jxl needs the package pillow-jxl-plugin (pip install")
    assert unread_because("a.cr2") == ".cr2 is not read, so convert to PNG"
    assert unread_because("a.png") == unread_because("a.txt") == unread_because("a") == ""


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x1cftypavif\0\0\0\0", "image/avif"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "image/heic"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", ""),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\xff\x0a\xff", "image/jxl"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"words", ""),
        (b"", ""),
    ],
)
def test_a_picture_is_known_by_its_first_bytes(start: bytes, kind: str) -> None:
    assert picture_type(start) == kind
