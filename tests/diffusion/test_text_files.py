"""Text files in the encodings that editors write."""

from pathlib import Path

import pytest

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.text_files import guess_warnings, read_text

TEXT = "owner\u2019s caf\u00e9, red\nrice"


@pytest.mark.parametrize(
    ("content", "guess"),
    [
        (TEXT.encode(), ""),
        (b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(), ""),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), ""),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), ""),
        (b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"), ""),
        (TEXT.encode("utf-16-le"), "UTF-16"),
        (TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("cp1252"), "Windows-1252"),
    ],
)
def test_a_text_is_read_whatever_its_encoding(tmp_path: Path, content: bytes, guess: str) -> None:
    (file := tmp_path / "a.txt").write_bytes(content)
    read = read_text(file, field="folder")
    assert (read.text, read.guess) == (TEXT, guess)


@pytest.mark.parametrize(
    "content",
    [
        "りんごの写真".encode("shift-jis"),
        "красное яблоко".encode("cp1251"),
        "caf\u00e9".encode() + b" \xe9t",  # UTF-8 that lost a byte
        b"\xff\xfea",
        b"a\0\0\0\1\2",
        b"\x81 \x8d",
    ],
)
def test_what_cannot_be_told_names_its_file(tmp_path: Path, content: bytes) -> None:
    (file := tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"encoding of a\.txt cannot be told") as caught:
        read_text(file, field="folder")
    assert (caught.value.field, caught.value.remedy) == ("folder", "Save it as UTF-8.")


def test_guesses_are_told_once_for_each_encoding() -> None:
    told = guess_warnings({"a": "UTF-16", **dict.fromkeys("bcdef", "Windows-1252")})
    assert [text.partition(", which")[0] for text in told] == [
        "a is read as UTF-16",
        "b, c, d and 2 more are read as Windows-1252",
    ]


def test_a_text_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.diffusion.formats.text_files.MAX_BYTES", 2**20)
    (file := tmp_path / "a.txt").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(InputError, match=r"a\.txt has more than 1 MiB"):
        read_text(file, field="folder")
