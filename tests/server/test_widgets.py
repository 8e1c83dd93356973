"""Widgets of node packages: only modules of installed packages are served, by name."""

from pathlib import Path
from typing import Any

import pytest

from graph_runtime.discovery import add_widgets


def test_only_known_widgets_are_served(serve: Any) -> None:
    async def test(editor: Any) -> None:
        for name in ("stars", "..%2F..%2Fserver.py", "%2e%2e"):
            assert (await editor.get(f"/api/widgets/{name}")).status == 404

    serve(test)


def test_names_are_plain_and_taken_once(tmp_path: Path) -> None:
    for package in ("one", "other"):
        (tmp_path / package / "widgets").mkdir(parents=True)
        (tmp_path / package / "widgets" / "stars.js").write_text("")
    widgets: dict[str, Path] = {}
    add_widgets(widgets, tmp_path / "one")
    assert list(widgets) == ["stars"]
    with pytest.raises(ValueError, match="exists already"):
        add_widgets(widgets, tmp_path / "other")
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "other" / "widgets" / "stars.js").unlink()
    (tmp_path / "other" / "widgets" / "moon.js").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ValueError, match="link out of the package"):
        add_widgets(widgets, tmp_path / "other")
    (tmp_path / "one" / "widgets" / "Two Words.js").write_text("")
    with pytest.raises(ValueError, match="no plain name"):
        add_widgets(widgets, tmp_path / "one")
