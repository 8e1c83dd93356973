"""The site is built, whole, and asks nobody else for anything."""

import re
from pathlib import Path

import pytest

from docs.build import build
from graph_runtime.discovery import load_palette


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert build(folder) == 0
    return folder


def test_every_node_and_field_is_in_the_reference(site: Path) -> None:
    for kind in load_palette().types.values():
        page = (site / "nodes" / f"{kind.category}.html").read_text()
        assert f'id="{kind.name.lower()}"' in page
        assert not [name for name in kind.cls.model_fields if f"<code>{name}</code>" not in page]


def test_nothing_is_fetched_from_outside(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    fetched = re.compile(r"""(?:src|srcset)=["']?https?:|<link[^>]+href=["']?https?:|url\(["']?https?:""")
    assert not [page for page in [*pages, *site.rglob("*.css")] if fetched.search(page.read_text(encoding="utf-8"))]
