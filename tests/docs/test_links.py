"""Every link inside the project leads somewhere, and every file that a page names is there. No network."""

import re
from functools import cache
from pathlib import Path

import pytest

from docs.build import stage
from tests.docs.pages import DOCS, PAGES, name_of, prose
from tests.shell import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?:nodes|graph_runtime|web|tests|docs|workflows|server\.py)(?:/[\w.-]+)*/?")
MADE = ("web/static", "nodes/<")


@cache
def anchors(page: Path) -> set[str]:
    """Return the ids that headings get on the site and in repositories."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong: list[str] = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if ":" in path or not target.is_file() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staged") / "docs"
    stage(folder)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DOCS], ids=name_of)
def test_links_of_the_repository_lead_somewhere(page: Path) -> None:
    assert LINK.search(prose(page))
    assert not broken(page)


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_links_of_the_site_lead_somewhere(page: Path, staged: Path) -> None:
    assert not broken(staged / page.relative_to(ROOT / "docs"))


def test_every_page_is_in_the_navigation(staged: Path) -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {page.relative_to(staged).as_posix() for page in staged.rglob("*.md")} == listed


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = [code for code in CODE.findall(prose(page)) if "/" in code and FILE.fullmatch(code)]
    assert not [name for name in named if not (ROOT / name).exists()]


def test_pictures_are_seen_in_the_repository_too() -> None:
    shown = [page.parent / link for page in DOCS for link in LINK.findall(prose(page)) if link.endswith((".webp", ".png"))]
    assert len(shown) > 4
    assert not [path for path in shown if not path.is_file()]
