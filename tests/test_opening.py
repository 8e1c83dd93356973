"""Opening what may be no file: the runtime and the nodes, neither of which may import the other, do it alike."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from graph_runtime import reading
from nodes.diffusion.formats import opening


@pytest.mark.parametrize("open_regular", [reading.open_regular, opening.open_regular], ids=["runtime", "nodes"])
def test_only_regular_files_are_opened_and_nobody_waits(open_regular: Callable[[Path], IO[bytes]], tmp_path: Path) -> None:
    (tmp_path / "regular").write_bytes(b"content")
    (tmp_path / "link").symlink_to("regular")
    os.mkfifo(tmp_path / "pipe")
    for name in ("regular", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="Not a regular file"):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_stamps_are_the_same(tmp_path: Path) -> None:
    assert reading.stamp_of(tmp_path) == opening.stamp_of(tmp_path)
