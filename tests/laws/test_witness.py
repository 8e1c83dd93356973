"""The witness sees which law a node breaks, and the record which result has changed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graph_runtime.cache import Cache
from graph_runtime.context import Artifact, RunContext
from graph_runtime.discovery import Palette
from graph_runtime.node import Node, describe
from graph_runtime.workspace import Workspace
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document
from tests.laws import runs
from tests.laws.fingerprints import Fingerprint, is_alike
from tests.laws.witness import Seen, Witness
from tests.laws.writes import WRITES


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "workspace").mkdir()
    made = Lab(Workspace(tmp_path / "workspace"), Cache(tmp_path / "cache"), tmp_path / "output")
    yield made
    made.cache.close()


class Plain(Node):
    """Keeps every law."""

    def run(self, context: RunContext) -> Path:
        return context.add_file(".txt", lambda path: path.write_text("plain 0.5"))


class Different(Plain):
    """Gives another result each time."""

    def run(self, context: RunContext) -> Path:
        CALLS.append(0)
        return context.add_file(".txt", lambda path: path.write_text(f"call {len(CALLS)}"))


class Outside(Plain):
    """Writes where nobody looks for it."""

    def run(self, context: RunContext) -> Path:
        (context.progress_folder or Path.cwd() / "outside.txt").write_text("x")
        return super().run(context)


class Secret(Plain):
    """Saves a file without a word."""

    def run(self, context: RunContext) -> Artifact:
        return Artifact("x.txt", super().run(context))


class Spoiler(Node):
    """Changes what it was given."""

    def run(self, given: list[list[int]]) -> list[list[int]]:
        given[0].append(1)
        return [[0]]


class Lists(Node):
    """A list, which can be changed."""

    def run(self) -> list[int]:
        return [0]


class Vandal(Node):
    """Writes into the file that it was given."""

    def run(self, given: Path) -> int:
        given.write_text("spoiled")
        return 0


CALLS: list[int] = []
TYPES = {cls.__name__: describe(cls) for cls in (Plain, Different, Outside, Secret, Spoiler, Lists, Vandal)}


def watched(lab: Lab, patch: pytest.MonkeyPatch, nodes: dict[str, str], wires: list[tuple[str, str]] = []) -> Witness:  # noqa: B006
    """Run toys under a witness."""
    patch.setattr(toys, "PALETTE", Palette(TYPES))
    witness = Witness().watch(patch)
    lab.run(document({id: (kind, {}) for id, kind in nodes.items()}, wires))
    return witness


@pytest.mark.parametrize(
    ("nodes", "wires", "broken"),
    [
        ({"a": "Plain"}, [], None),
        ({"a": "Different"}, [], "gave another result for the same fields and inputs"),
        ({"a": "Outside"}, [], "wrote"),
        ({"a": "Secret"}, [], "saves a file and does not say so"),
        ({"l": "Lists", "a": "Spoiler"}, [("l.output", "a.given")], "changed an input"),
        ({"p": "Plain", "a": "Vandal"}, [("p.output", "a.given")], "changed a file of another result"),
    ],
)
def test_the_witness_sees_which_law_is_broken(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nodes: dict[str, str], wires: list[tuple[str, str]], broken: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    found = watched(lab, monkeypatch, nodes, wires).broken
    assert [line for line in found if "(a)" in line] == found
    assert any(broken in line for line in found) if broken else found == []


def test_the_witness_sees_writes(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    with WRITES.outside(tmp_path / "inside") as found:
        (tmp_path / "inside" / "x").write_text("x")
        (tmp_path / "y").write_text("y")
        (tmp_path / "y").rename(tmp_path / "z")
    assert found == [str(tmp_path / "y"), str(tmp_path / "z")]


@dataclass(frozen=True)
class Value:
    """What a node could return, with something that was only noted beside it."""

    name: str
    read: str = field(default="", compare=False)


def fingerprint(value: Any) -> dict[str, Any]:
    return Fingerprint(frozenset({"ab" * 32})).add(value).to_json()


def tensors(path: Path, *, shift: float = 0.0, name: str = "a") -> Path:
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    save_file({name: x + shift, "b": x[:10]}, path)
    return path


def test_fingerprints_are_exact_in_what_is_not_computed_and_tolerant_in_floats(tmp_path: Path) -> None:
    plain = {"name": "owl 0.5", "sizes": [1, 2], "loss": 1.0, "digest": "cd" * 32}
    known = fingerprint(plain)
    for change in ({"loss": 1.00001}, {"name": "owl 0.50001"}, {"digest": "ef" * 32}):
        assert is_alike(known, fingerprint({**plain, **change})), change
    for change in ({"loss": 1.1}, {"name": "owl 0.6"}, {"name": "Owl 0.5"}, {"sizes": [2, 1]}, {"digest": "ab" * 32}, {"x": 1}):
        assert not is_alike(known, fingerprint({**plain, **change})), change
    before = fingerprint(tensors(tmp_path / "a.safetensors"))
    assert is_alike(before, fingerprint(tensors(tmp_path / "b.safetensors", shift=1e-7)))
    assert not is_alike(before, fingerprint(tensors(tmp_path / "c.safetensors", shift=1e-2)))
    assert not is_alike(before, fingerprint(tensors(tmp_path / "d.safetensors", name="c")))
    assert is_alike(before, fingerprint(tensors(tmp_path / "e.safetensors", shift=1e-2)), elsewhere=True)
    assert not is_alike(before, fingerprint(tensors(tmp_path / "f.safetensors", shift=1.0)), elsewhere=True)


def test_fields_that_do_not_count_in_comparisons_change_no_fingerprint() -> None:
    assert fingerprint({"name": "a"}) == fingerprint(Value("a")) == fingerprint(Value("a", read="more"))
    assert fingerprint(Value("a")) != fingerprint(Value("b"))


def test_a_changed_result_is_told_where_it_begins() -> None:
    def seen(**exact: str) -> dict[str, Seen]:
        return {
            "a": Seen("LoadModel", "{}", [], {"exact": exact["a"]}),
            "b": Seen("SampleImages", "{}", ["a"], {"exact": exact["b"]}),
            "c": Seen("SaveImages", "{}", ["b"], {"exact": exact["c"]}),
        }

    known = runs.to_record(seen(a="1", b="1", c="1"))
    assert runs.complaints("w", seen(a="1", b="1", c="1"), known) == []
    (only,) = runs.complaints("w", seen(a="1", b="2", c="2"), known)
    assert only.startswith("SampleImages (w.b) gives another result than was recorded for its version 2. Raise the version")
    assert runs.RECORD in only
    (last,) = runs.complaints("w", seen(a="1", b="1", c="2"), known)
    assert last.startswith("SaveImages (w.c)")
    known["a"]["version"] = 7
    (stale,) = runs.complaints("w", seen(a="2", b="2", c="2"), known)
    assert stale.startswith("results.json does not describe LoadModel (w.a) of version 1")
