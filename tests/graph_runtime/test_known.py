"""What is known of results before anything runs: it goes along the wires, and checks get nothing that is empty."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.cache import Cache
from graph_runtime.discovery import Palette
from graph_runtime.errors import WorkflowError
from graph_runtime.node import Json, Known, Node, OutsideFiles, describe
from graph_runtime.session import prepare
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace
from tests.graph_runtime.conftest import document


class Begins(Node):
    """Knows what its field names."""

    kind: str = ""

    def known(self, files: OutsideFiles) -> Json:
        return {"kind": self.kind} if self.kind else None

    def run(self) -> str:
        return self.kind


class Hides(Node):
    """Passes on nothing of what is known."""

    def known(self, files: OutsideFiles) -> Json:
        return {}

    def run(self, text: str) -> str:
        return text


class Joins(Node):
    """Passes on what is known of its texts, and refuses one of the kind `bad`."""

    def check_known(self, known: Known) -> None:
        if "bad" in [each["kind"] for each in known["texts"]]:
            raise ValueError("a bad text arrives.")

    def run(self, texts: list[str]) -> str:
        return "".join(texts)


PALETTE = Palette({cls.__name__: describe(cls, "toys", "toys") for cls in (Begins, Hides, Joins)}, (Path("/nowhere"),))


def problems(tmp_path: Path, nodes: dict[str, Any], wires: Sequence[tuple[str, str]]) -> list[str]:
    """Return the nodes that are refused before anything runs."""
    cache = Cache(tmp_path / "cache")
    try:
        prepare(workflow_from_json(document(nodes, list(wires))), PALETTE, Workspace(tmp_path), cache, ["last"])
    except WorkflowError as error:
        return [problem.node for problem in error.problems]
    finally:
        cache.close()
    return []


@pytest.mark.parametrize("unknown", ["Begins", "Hides"])
def test_checks_get_what_is_known_and_nothing_of_what_is_not(tmp_path: Path, unknown: str) -> None:
    first = {"bad": ("Begins", {"kind": "bad"}), "first": (unknown, {})}
    feed = [("bad.output", "first.text")] if unknown == "Hides" else []
    alone = {**first, "last": ("Joins", {})}
    assert problems(tmp_path, alone, [*feed, ("first.output", "last.texts")]) == []
    both = {**first, "middle": ("Joins", {}), "good": ("Begins", {"kind": "good"}), "last": ("Joins", {})}
    wires = [*feed, ("first.output", "middle.texts"), ("good.output", "middle.texts"), ("middle.output", "last.texts")]
    assert problems(tmp_path, both, wires) == []
    wires.append(("bad.output", "last.texts"))
    assert problems(tmp_path, both, wires) == ["last"]
