"""Muted and bypassed nodes: what does not run because of them, said before and after."""

import pytest

from graph_runtime import events as ev
from graph_runtime.errors import WorkflowError
from graph_runtime.validation import warnings
from graph_runtime.workflow import workflow_from_json
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document

NODES = {"a": ("Number", {}), "b": ("Number", {}), "sum": ("Add", {}), "t": ("Total", {}), "end": ("Total", {})}
WIRES = [
    ("a.output", "sum.left"),
    ("b.output", "sum.right"),
    ("b.output", "t.numbers"),
    ("sum.output", "t.extra"),
    ("sum.output", "end.numbers"),
]


def graph(mode: str, id: str = "a") -> dict[str, object]:
    content = document(NODES, WIRES)
    content["nodes"][id]["mode"] = mode
    return content


def test_what_a_muted_node_stops_is_said_before_and_after(lab: Lab) -> None:
    content = graph("muted")
    before = [str(problem) for problem in warnings(workflow_from_json(content), toys.PALETTE)]
    assert before == [
        "sum: does not run: a is muted.",
        "end: does not run: a is muted.",
        "t.extra: runs without this wire: a is muted.",
    ]
    finished = lab.run(content)
    assert finished.status == "succeeded"
    assert finished.not_run() == {"sum": "a is muted", "end": "a is muted"}
    told = [f"{event.node}: {event.text}" for event in lab.events if isinstance(event, ev.NodeMessage)]
    assert told[0] == "sum: does not run: a is muted."
    assert "t: extra: runs without this wire: a is muted." in told


def test_an_active_graph_leaves_nothing_out(lab: Lab) -> None:
    assert warnings(workflow_from_json(document(NODES, WIRES)), toys.PALETTE) == []
    assert lab.run(document(NODES, WIRES)).not_run() == {}


def test_only_what_was_asked_for_is_missed(lab: Lab) -> None:
    assert lab.run(graph("muted", "sum"), ["t"]).not_run() == {}
    with pytest.raises(WorkflowError, match="end: this target does not run: sum is muted"):
        lab.prepare(graph("muted", "sum"), ["end"])


def test_a_node_that_can_hand_nothing_on_refuses_bypass(lab: Lab) -> None:
    with pytest.raises(
        WorkflowError, match=r"a: sum does not run: a is bypassed, and nothing wired to it can stand for"
    ) as error:
        lab.run(graph("bypassed"))
    assert len(error.value.problems) == 1
    words = document({"a": ("Number", {}), "w": ("Text", {}), "t": ("Total", {})}, [("a.output", "t.numbers")])
    words["nodes"]["w"]["mode"] = "bypassed"  # nothing needs what it cannot hand on
    assert lab.run(words).status == "succeeded"


def test_bypassed_nodes_in_a_row_hand_on_what_fits_their_output(lab: Lab) -> None:
    nodes = {"a": ("Number", {"value": 8}), "half": ("Divide", {"by": 2}), "sum": ("Add", {}), "t": ("Total", {})}
    wires = [("a.output", "half.number"), ("half.remainder", "sum.left"), ("a.output", "sum.right"), ("sum.output", "t.numbers")]
    content = document(nodes, wires)
    for id in ("half", "sum"):
        content["nodes"][id]["mode"] = "bypassed"
    assert [source.node for source in lab.prepare(content).graph.steps["t"].inputs["numbers"]] == ["a"]


def test_a_field_without_a_value_needs_its_wire(lab: Lab) -> None:
    nodes = {"a": ("Number", {"value": 8}), "by": ("Number", {"value": 2}), "half": ("Divide", {})}
    content = document(nodes, [("a.output", "half.number"), ("by.output", "half.by")])
    content["nodes"]["by"]["mode"] = "muted"
    assert lab.run(content).not_run() == {"half": "by is muted"}


def test_what_a_failure_or_a_stop_prevents_has_its_reason(lab: Lab) -> None:
    nodes = {"n": ("Number", {}), "bad": ("Fail", {}), "t": ("Total", {}), "end": ("Total", {})}
    wires = [("n.output", "bad.number"), ("bad.output", "t.numbers"), ("t.output", "end.numbers")]
    failed = lab.run(document(nodes, wires))
    assert failed.not_run() == {"t": "bad failed", "end": "bad failed"}
    lab.stop_requested = lambda: True
    assert set(lab.run(document(NODES, WIRES)).not_run().values()) == {"the run was stopped"}


def test_a_long_row_behind_a_muted_node_is_walked_once(lab: Lab) -> None:
    nodes = {"n0": ("Number", {})} | {f"n{i}": ("Total", {}) for i in range(1, 400)}
    content = document(nodes, [(f"n{i}.output", f"n{i + 1}.numbers") for i in range(399)])
    content["nodes"]["n0"]["mode"] = "muted"
    assert set(lab.prepare(content).graph.left_out.dropped.values()) == {"n0 is muted"}
