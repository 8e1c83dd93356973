"""Sweeps: every combination of the values of fields upstream, what does not depend on them computed once."""

import json
from typing import Any

import pytest

from graph_runtime import events as ev
from graph_runtime.sweep_reading import read_sweeps
from graph_runtime.sweeps import swept
from graph_runtime.validation import validate
from graph_runtime.workflow import workflow_from_json
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document

NODES: dict[str, Any] = {
    "a": ("Number", {"value": 1}),
    "b": ("Number", {"value": 10}),
    "left": ("Add", {}),
    "sum": ("Add", {}),
    "table": ("Table", {"x": "sum.offset", "x_values": "100\n\n 200 "}),
}
WIRES = [
    ("a.output", "left.left"),
    ("a.output", "left.right"),
    ("left.output", "sum.left"),
    ("b.output", "sum.right"),
    ("sum.output", "table.numbers"),
]


def table(**fields: Any) -> dict[str, Any]:
    """The document with other fields in its table."""
    return document({**NODES, "table": ("Table", fields)}, WIRES)


BOTH = table(x="sum.offset", x_values="100\n200\n300", y="b.value", y_values="10\n20")


def result(lab: Lab, content: dict[str, Any], id: str = "table") -> Any:
    """Run a document, and read what a node made."""
    assert lab.run(content).status == "succeeded"
    step = lab.prepare(content).graph.steps[id]
    return lab.cache.get(step.key, step.type.result)


def problems(lab: Lab, content: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in validate(workflow_from_json(content), toys.PALETTE, lab.workspace)]


def test_a_workflow_without_sweeps_is_left_as_it_is() -> None:
    workflow = workflow_from_json(document({"a": NODES["a"]}))
    assert swept(workflow, read_sweeps(workflow, toys.PALETTE.types).found) is workflow


def test_one_field_takes_each_value_in_order(lab: Lab) -> None:
    assert result(lab, document(NODES, WIRES)) == "[112, 212]"


def test_two_fields_give_rows_of_the_second_with_columns_of_the_first(lab: Lab) -> None:
    assert result(lab, BOTH) == "[112, 212, 312, 122, 222, 322]"


def test_only_what_depends_on_a_field_is_computed_again(lab: Lab) -> None:
    finished = lab.run(BOTH)
    copies = {f"sum--x{x}y{y}" for x in (1, 2, 3) for y in (1, 2)}
    assert finished.nodes.keys() == {"a", "left", "b--y1", "b--y2", "table", *copies}
    assert toys.CALLS.count("Add") == 7
    assert sorted(call for call in toys.CALLS if call != "Add") == ["Number 1", "Number 10", "Number 20", "Table"]


def test_a_copy_has_the_key_of_the_same_node_set_by_hand(lab: Lab) -> None:
    alone = {id: NODES[id] for id in ("a", "b", "left")}
    by_hand = lab.prepare(document({**alone, "sum": ("Add", {"offset": 200})}, WIRES[:-1])).graph.steps
    steps = lab.prepare(document(NODES, WIRES)).graph.steps
    assert steps["sum--x2"].key == by_hand["sum"].key
    assert steps["left"].key == by_hand["left"].key


def test_a_further_value_computes_only_what_it_adds(lab: Lab) -> None:
    lab.run(table(x="sum.offset", x_values="100\n200"))
    assert [node.state for id, node in lab.run(BOTH).nodes.items() if id.endswith("y1")].count("cached") == 3
    finished = lab.run(table(x="sum.offset", x_values="50\n100\n200"))
    assert {id for id, node in finished.nodes.items() if node.state == "executed"} == {"sum--x1", "table"}


def test_what_hangs_on_a_swept_node_beside_keeps_its_value(lab: Lab) -> None:
    content = document({**NODES, "end": ("Total", {})}, [*WIRES, ("sum.output", "end.numbers")])
    assert lab.run(content).nodes.keys() == {"a", "b", "left", "sum", "sum--x1", "sum--x2", "table", "end"}
    assert result(lab, content) == "[112, 212]"
    assert result(lab, content, "end") == 12


def test_a_saver_beside_saves_what_its_node_makes_as_it_stands(lab: Lab) -> None:
    nodes = {"t": ("Text", {"text": "c"}), "save": ("WriteText", {}), "table": ("Table", {"x": "t.text", "x_values": "d\ne"})}
    content = document(nodes, [("t.output", "table.numbers"), ("t.output", "save.text")])
    (saved,) = lab.run(content).artifacts
    assert (saved.node, lab.prepare(content).targets) == ("save", ["save"])
    assert [path.read_text() for path in (lab.output / "runs").rglob("text.txt")] == ["c"]
    assert lab.run(content, ["table"]).nodes["table"].state == "executed"


def test_a_value_that_a_node_has_already_is_not_computed_twice(lab: Lab) -> None:
    nodes = {**NODES, "end": ("Total", {}), "table": ("Table", {"x": "a.value", "x_values": "1\n2"})}
    lab.run(document(nodes, [*WIRES, ("sum.output", "end.numbers")]))
    assert sorted(toys.CALLS) == [*["Add"] * 4, "Number 1", "Number 10", "Number 2", "Table", "Total"]


def test_a_wire_that_is_not_swept_comes_again_in_every_combination(lab: Lab) -> None:
    assert result(lab, document(NODES, [("b.output", "table.numbers"), *WIRES])) == "[10, 112, 10, 212]"


def test_events_name_copies_by_the_node_on_the_page(lab: Lab) -> None:
    lab.run(BOTH)
    started = [event.node for event in lab.events if isinstance(event, ev.NodeStarted)]
    assert {id.split("--")[0] for id in started} == set(NODES)


def test_a_target_that_is_swept_runs_as_it_stands(lab: Lab) -> None:
    finished = lab.run(BOTH, ["sum"])
    assert {id for id, node in finished.nodes.items() if node.state == "executed"} == {"a", "left", "b", "sum"}
    assert lab.prepare(BOTH, ["table"]).targets == ["table"]


def test_files_carry_the_document_as_it_was_given(lab: Lab) -> None:
    prepared = lab.prepare(BOTH)
    assert prepared.provenance.workflow["nodes"].keys() == NODES.keys()
    assert prepared.workflow.nodes.keys() == NODES.keys()


@pytest.mark.parametrize("mode", ["muted", "bypassed"])
def test_a_table_that_does_not_run_sweeps_nothing(lab: Lab, mode: str) -> None:
    content = json.loads(json.dumps(BOTH))
    content["nodes"]["table"]["mode"] = mode
    assert lab.prepare(content).graph.steps.keys() == {"a", "b", "left", "sum"}


def test_several_tables_sweep_beside_each_other(lab: Lab) -> None:
    nodes = {**NODES, "other": ("Table", {"x": "b.value", "x_values": "20\n30"})}
    content = document(nodes, [*WIRES, ("sum.output", "other.numbers")])
    steps = lab.prepare(content).graph.steps
    assert "sum" not in steps
    assert {"sum--table-x1", "sum--other-x2", "b--other-x1", "b"} <= steps.keys()
    assert result(lab, content) == "[112, 212]"
    assert result(lab, content, "other") == "[22, 32]"


def test_a_copy_of_one_table_may_need_what_another_copies(lab: Lab) -> None:
    nodes = {**NODES, "other": ("Table", {"x": "left.offset", "x_values": "1000"})}
    content = document(nodes, [*WIRES[:-1], ("sum.output", "table.numbers"), ("left.output", "other.numbers")])
    assert result(lab, content) == "[112, 212]"
    assert result(lab, content, "other") == "[1002]"


def test_values_are_read_as_their_field_has_them(lab: Lab) -> None:
    workflow = workflow_from_json(
        document({"t": ("Text", {}), "s": ("Table", {"x": "t.style", "x_values": "loud\nplain"})}, [("t.output", "s.numbers")])
    )
    (found,), _ = read_sweeps(workflow, toys.PALETTE.types)
    assert found.axes[0].values == ("loud", "plain")
    assert problems(lab, table(x="sum.offset", x_values="1.5"))[0].startswith("table.x_values: '1.5' does not fit Add.offset")


def inner(nodes: dict[str, Any], wires: list[tuple[str, str]], **sockets: dict[str, str]) -> dict[str, Any]:
    return {key: value for key, value in document(nodes, wires, **sockets).items() if key != "format"}


def test_a_table_inside_a_subgraph_names_nodes_as_they_are_called_there(lab: Lab) -> None:
    placed = {"s": ("Subgraph", {"subgraph": "d"})}
    content = document(placed, subgraphs={"d": inner(NODES, WIRES)})
    assert result(lab, content, "s--table") == "[112, 212]"
    assert "s--sum--x2" in lab.prepare(content).graph.steps


def test_a_table_outside_names_nodes_inside_by_their_whole_id(lab: Lab) -> None:
    nodes = {"s": ("Subgraph", {"subgraph": "d"}), "table": ("Table", {"x": "s--sum.offset", "x_values": "5\n6"})}
    inside = inner({id: NODES[id] for id in ("a", "b", "left", "sum")}, WIRES[:-1], outputs={"sum": "sum.output"})
    content = document(nodes, [("s.sum", "table.numbers")], subgraphs={"d": inside})
    assert result(lab, content) == "[17, 18]"
    content["nodes"]["table"]["fields"]["x"] = "s.offset"
    assert "there is no node 's'" in problems(lab, content)[0]


MANY = "\n".join(map(str, range(11)))
WRONG = {
    "nothing": (table(), "table.x: no field is named"),
    "no dot": (table(x="sum", x_values="1"), "table.x: 'sum' is not of the form node.field."),
    "no node": (table(x="smu.offset", x_values="1"), "table.x: there is no node 'smu'. Did you mean sum?"),
    "no field": (table(x="sum.ofset", x_values="1"), "table.x: Add has no field 'ofset'. Did you mean offset?"),
    "an input": (table(x="sum.left", x_values="1"), "table.x: Add has no field 'left'."),
    "no values": (table(x="sum.offset", x_values=" \n"), "table.x_values: there are no values."),
    "values alone": (table(x="sum.offset", x_values="1", y_values="2"), "table.y: '' is not of the form node.field."),
    "refused": (
        table(x="sum.offset", x_values="1\n1001"),
        "table.x_values: '1001' does not fit Add.offset: it must be at most",
    ),
    "text": (table(x="a.value", x_values="one"), "table.x_values: 'one' does not fit Number.value"),
    "twice": (table(x="sum.offset", x_values="1\n01"), "table.x_values: '01' stands here twice."),
    "one field": (table(x="b.value", x_values="1", y="b.value", y_values="2"), "table.y: the same field is swept twice."),
    "itself": (table(x="table.name", x_values="1"), "table.x: nothing leads from table to this node"),
    "too many": (table(x="a.value", x_values=MANY, y="b.value", y_values=MANY), "table.x_values: there are more than 100"),
    "too many lines": (table(x="a.value", x_values="\n".join(map(str, range(999)))), "table.x_values: there are more than 100"),
    "not upstream": (
        document({**NODES, "end": ("Add", {}), "table": ("Table", {"x": "end.offset", "x_values": "1"})}, WIRES),
        "table.x: nothing leads from end to this node",
    ),
    "by a wire": (document(NODES, [*WIRES, ("a.output", "sum.offset")]), "table.x: a wire sets sum.offset."),
    "of a wire": (document({**NODES, "t": ("Text", {})}, [*WIRES, ("t.output", "table.x")]), "table.x: this field takes no wire"),
    "nothing wired": (document(NODES, WIRES[:-1]), "table.x: nothing leads from sum to this node"),
    "id taken": (
        document({**NODES, "sum--x2": NODES["a"]}, WIRES),
        "table.x: a copy of sum would be called sum--x2, as another node is. Rename that node.",
    ),
    "together": (
        document(
            {
                "a": NODES["a"],
                "k": ("Between", {}),
                "table": ("Table", {"x": "k.low", "x_values": "1\n7", "y": "k.high", "y_values": "5\n9"}),
            },
            [("a.output", "k.number"), ("k.output", "table.numbers")],
        ),
        "table.x_values: Between refuses low = 7, high = 5: low is above high.",
    ),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_what_is_wrong_is_said_of_the_table(lab: Lab, case: str) -> None:
    content, expected = WRONG[case]
    found = problems(lab, content)
    assert any(text.startswith(expected) for text in found), found


def test_a_file_that_is_not_there_is_said_of_the_table(lab: Lab) -> None:
    (lab.workspace.root / "one.txt").write_text("1")
    nodes = {"r": ("ReadFile", {"path": "one.txt"}), "s": ("Table", {"x": "r.path", "x_values": "one.txt\n../two.txt\nthree"})}
    found = [text for text in problems(lab, document(nodes, [("r.output", "s.numbers")])) if text.startswith("s.x_values")]
    assert len(found) == 2


def test_a_sweep_between_is_refused(lab: Lab) -> None:
    nodes = {"t": ("Text", {}), "n": ("Number", {}), "one": ("Table", {"x": "n.value", "x_values": "1"})}
    nodes["two"] = ("Table", {"x": "n.value", "x_values": "1"})
    found = problems(lab, document(nodes, [("n.output", "one.numbers"), ("one.output", "two.numbers")]))
    assert "two.x: one, which lies between this node and n, sweeps fields itself. Wire what is swept to both of them." in found


def test_problems_below_a_broken_document_are_named_too(lab: Lab) -> None:
    nodes = {**NODES, "sum": ("Nothing", {}), "b": ("Number", {"value": "x"})}
    found = problems(lab, document(nodes, WIRES))
    assert any(text.startswith("b.value") for text in found)
    assert any(text.startswith("table.x: the type of sum is not known") for text in found)
