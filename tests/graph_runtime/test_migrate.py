"""Documents of earlier releases: renamed classes, fields, inputs and outputs, and whatever refers to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from graph_runtime.discovery import Palette, add_type
from graph_runtime.errors import WorkflowError
from graph_runtime.migrate import migrated
from graph_runtime.migration import Migration
from graph_runtime.node import Node, NodeType, describe
from graph_runtime.session import prepare
from graph_runtime.workflow import Workflow, workflow_from_json
from graph_runtime.workspace import Workspace
from tests.graph_runtime.conftest import Lab, document
from tests.graph_runtime.toys import PALETTE, Number, Table


class Parts(NamedTuple):
    whole: int
    rest: int


class Split(Node):
    """A number by another one, which three releases have called differently."""

    former_names: ClassVar[tuple[str, ...]] = ("Part",)
    migrations: ClassVar[Mapping[int, Migration]] = {
        0: Migration(inputs={"n": "number"}),
        1: Migration(inputs={"divisor": "by"}, outputs={"quotient": "whole"}),
        2: Migration(inputs={"number": "dividend"}, change=lambda fields: {**fields, "by": 10 * fields.get("by", 1)}),
        3: Migration(removed=frozenset({"speed"})),
    }
    by: int = 10
    """The divisor, in tenths since the third version."""

    def run(self, dividend: int) -> Parts:
        return Parts(*divmod(10 * dividend, self.by))


TYPES = {node_type.name: node_type for node_type in (describe(Split), describe(Number), describe(Table))}


def today(nodes: dict[str, Any], wires: list[tuple[str, str]] = [], **more: Any) -> Workflow:  # noqa: B006
    return migrated(workflow_from_json({**document({}, wires), "nodes": nodes, **more}), TYPES)


def test_the_schema_version_is_one_after_the_last_migration() -> None:
    assert describe(Split).schema_version == 4
    assert describe(Number).schema_version == 1
    assert describe(Split).to_json()["schema_version"] == 4


@pytest.mark.parametrize(
    ("entry", "source", "target"),
    [
        ({"type": "Part", "fields": {"divisor": 2, "speed": 1}}, "quotient", "n"),
        ({"type": "Part", "fields": {"divisor": 2}}, "quotient", "number"),
        ({"type": "Split", "schema_version": 2, "fields": {"by": 2, "speed": 3}}, "whole", "number"),
        ({"type": "Split", "schema_version": 3, "fields": {"by": 20, "speed": 3}}, "whole", "dividend"),
        ({"type": "Split", "schema_version": 4, "fields": {"by": 20}}, "whole", "dividend"),
    ],
)
def test_a_node_of_any_version_means_the_same_and_wires_follow(entry: dict[str, Any], source: str, target: str) -> None:
    nodes = {"a": {"type": "Number"}, "s": entry, "b": {"type": "Split", "schema_version": 4}}
    found = today(nodes, [("a.output", f"s.{target}"), (f"s.{source}", "b.dividend")])
    assert (found.nodes["s"].type, found.nodes["s"].schema_version, found.nodes["s"].fields) == ("Split", 4, {"by": 20})
    assert [(wire.source, wire.target) for wire in found.wires] == [("a.output", "s.dividend"), ("s.whole", "b.dividend")]
    assert migrated(found, TYPES) == found
    assert workflow_from_json(found.to_json()) == found


def test_subgraphs_and_their_sockets_follow() -> None:
    inner = {"nodes": {"s": {"type": "Part"}}, "inputs": {"in": "s.n", "d": "s.divisor"}, "outputs": {"out": "s.quotient"}}
    found = today({"g": {"type": "Subgraph", "fields": {"subgraph": "x"}}}, subgraphs={"x": inner}).subgraphs["x"]
    assert (found.inputs, found.outputs) == ({"in": "s.dividend", "d": "s.by"}, {"out": "s.whole"})
    assert found.nodes["s"].type == "Split"


def test_sweeps_follow() -> None:
    nodes = {"s": {"type": "Part"}, "t": {"type": "Table", "fields": {"x": "s.divisor", "x_values": "1\n2", "y": "elsewhere.n"}}}
    assert today(nodes).nodes["t"].fields == {"x": "s.by", "x_values": "1\n2", "y": "elsewhere.n"}


def test_wires_sockets_and_sweeps_to_a_removed_field_go_with_it() -> None:
    nodes = {
        "a": {"type": "Number"},
        "s": {"type": "Split", "schema_version": 3},
        "t": {"type": "Table", "fields": {"x": "s.speed", "x_values": "1"}},
    }
    found = today(nodes, [("a.output", "s.speed"), ("a.output", "s.dividend")])
    assert [wire.target for wire in found.wires] == ["s.dividend"]
    assert found.nodes["t"].fields["x"] == ""
    inner = {"nodes": {"s": {"type": "Part"}}, "inputs": {"v": "s.speed", "in": "s.n"}}
    found = today({"g": {"type": "Subgraph", "fields": {"subgraph": "x"}}}, subgraphs={"x": inner}).subgraphs["x"]
    assert found.inputs == {"in": "s.dividend"}


def test_what_leads_to_a_removed_field_through_subgraphs_goes_with_it() -> None:
    nodes = {
        "a": {"type": "Number"},
        "g": {"type": "Subgraph", "fields": {"subgraph": "outer"}},
        "t": {"type": "Table", "fields": {"x": "g.far", "x_values": "1"}},
    }
    inner = {"nodes": {"s": {"type": "Part"}}, "inputs": {"v": "s.speed", "in": "s.n"}}
    outer = {
        "nodes": {"b": {"type": "Number"}, "h": {"type": "Subgraph", "fields": {"subgraph": "inner"}}},
        "wires": [{"from": "b.output", "to": "h.in"}, {"from": "b.output", "to": "h.v"}],
        "inputs": {"far": "h.v", "near": "h.in"},
    }
    wires = [("a.output", "g.far"), ("a.output", "g.near")]
    found = today(nodes, wires, subgraphs={"outer": outer, "inner": inner})
    assert [wire.target for wire in found.wires] == ["g.near"]
    assert found.nodes["t"].fields["x"] == ""
    assert found.subgraphs["outer"].inputs == {"near": "h.in"}
    assert [wire.target for wire in found.subgraphs["outer"].wires] == ["h.in"]


def test_a_value_under_the_new_name_wins() -> None:
    assert Migration(inputs={"old": "new"}).migrated({"new": 1, "old": 2}) == {"new": 1}


def test_a_document_of_a_newer_program_is_refused_with_the_reason() -> None:
    with pytest.raises(WorkflowError) as caught:
        today({"s": {"type": "Split", "schema_version": 5}})
    (problem,) = caught.value.problems
    assert problem.node == "s"
    assert "saved with schema version 5; this program knows up to 4" in problem.message
    assert "Update" in problem.remedy


@pytest.mark.parametrize("version", [0, -1, "x", 1.5])
def test_a_version_that_no_release_had_is_refused(version: Any) -> None:
    with pytest.raises(WorkflowError) as caught:
        workflow_from_json({"format": "latentloom/1", "nodes": {"s": {"type": "Split", "schema_version": version}}})
    assert (caught.value.problems[0].node, caught.value.problems[0].field) == ("s", "schema_version")


def test_nodes_of_packages_that_are_not_installed_keep_their_version() -> None:
    entry = {"type": "Elsewhere", "schema_version": 7, "fields": {"n": 1}}
    assert today({"e": entry, "s": {"type": "Part"}}).to_json()["nodes"]["e"] == entry


def test_an_old_document_has_the_keys_of_todays(lab: Lab, tmp_path: Path) -> None:
    palette = Palette({**PALETTE.types, "Split": describe(Split)}, PALETTE.folders)
    wire = [("a.output", "s.n")], [("a.output", "s.dividend")]
    old = {**document({"a": ("Number", {}), "s": ("Part", {"divisor": 2})}, wire[0])}
    new = {**document({"a": ("Number", {}), "s": ("Split", {"by": 20})}, wire[1])}
    new["nodes"]["s"]["schema_version"] = 4
    both = [prepare(workflow_from_json(each), palette, Workspace(tmp_path), lab.cache, []) for each in (old, new)]
    assert both[0].graph.steps["s"].key == both[1].graph.steps["s"].key
    assert both[0].provenance.workflow == both[1].provenance.workflow
    assert both[0].provenance.workflow["nodes"]["s"]["schema_version"] == 4


def test_migrations_without_a_gap_and_names_of_one_class() -> None:
    class Gap(Node):
        """Misses version 1."""

        migrations: ClassVar[Mapping[int, Migration]] = {2: Migration()}

        def run(self) -> int:
            return 0

    class Again(Node):
        """Claims a name that Split had."""

        former_names: ClassVar[tuple[str, ...]] = ("Part",)

        def run(self) -> int:
            return 0

    with pytest.raises(TypeError, match="without gaps"):
        describe(Gap)
    types: dict[str, NodeType] = dict(TYPES)
    with pytest.raises(ValueError, match="both had the name Part"):
        add_type(types, describe(Again))
