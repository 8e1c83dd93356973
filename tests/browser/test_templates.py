"""The shipped workflows, as they look when they are opened."""

import json
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

from playwright.sync_api import Page, expect

from tests.browser.hands import drop_document, show_all
from tests.shell import ROOT

TEMPLATES = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "workflows").glob("*.json"))}
COLUMNS, WIDTH, HEIGHT = 24, 320, 900
SIZES = """() => Object.fromEntries([...document.querySelectorAll('.react-flow__node')].map((node) =>
    [node.dataset.id, [node.offsetWidth, node.offsetHeight]]))"""

SPILLED = """() => [...document.querySelectorAll('.socket > span')].filter((name) =>
    name.getBoundingClientRect().right > name.closest('.card').getBoundingClientRect().right).length"""


class Box(NamedTuple):
    """Where a card or a note of a template lies."""

    name: str
    x: float
    y: float
    width: float
    height: float

    def is_over(self, other: "Box") -> bool:
        beside = self.x >= other.x + other.width or other.x >= self.x + self.width
        return not beside and self.y < other.y + other.height and other.y < self.y + self.height


def all_cards() -> dict[str, Any]:
    """One document with the cards of all templates, apart from each other."""
    nodes: dict[str, Any] = {}
    for template, content in TEMPLATES.items():
        for id, entry in content["nodes"].items():
            place = [len(nodes) % COLUMNS * WIDTH, len(nodes) // COLUMNS * HEIGHT]
            nodes[f"{template}-{id}"] = {**entry, "position": place}
    subgraphs = {id: graph for content in TEMPLATES.values() for id, graph in content.get("subgraphs", {}).items()}
    return {"format": "latentloom/1", "name": "all cards", "nodes": nodes, "subgraphs": subgraphs}


def boxes(template: str, sizes: dict[str, tuple[float, float]]) -> Iterator[Box]:
    content = TEMPLATES[template]
    for id, entry in content["nodes"].items():
        yield Box(id, *entry["position"], *sizes[f"{template}-{id}"])
    for number, note in enumerate(content.get("notes", [])):
        yield Box(f"note {number}", *note["position"], *note["size"])


def test_no_card_of_a_template_lies_on_another(open_page: Callable[..., Page]) -> None:
    """All cards are measured at once, on a screen so large that none is drawn plainly."""
    page = open_page(width=4000, height=4600)
    document = all_cards()
    drop_document(page, document)
    show_all(page)
    expect(page.locator("article.card")).to_have_count(len(document["nodes"]))
    sizes = page.evaluate(SIZES)
    overlaps = [
        f"{template}: {one.name} and {other.name}"
        for template in TEMPLATES
        for one, other in combinations(boxes(template, sizes), 2)
        if one.is_over(other)
    ]
    assert overlaps == []
    assert page.evaluate(SPILLED) == 0
