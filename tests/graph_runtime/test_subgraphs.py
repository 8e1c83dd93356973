"""Subgraphs: a graph runs the same with some of its nodes put into one."""

import json
from typing import Any

import pytest

from graph_runtime.errors import WorkflowError
from graph_runtime.provenance import carried_document
from graph_runtime.subgraphs import MAX_ID, expanded, expanded_ids, joined
from graph_runtime.validation import validate
from graph_runtime.workflow import workflow_from_json
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document


def placed(name: str) -> tuple[str, dict[str, str]]:
    return ("Subgraph", {"subgraph": name})


def definition(nodes: dict[str, Any], wires: list[tuple[str, str]], **sockets: dict[str, str]) -> dict[str, Any]:
    return {key: value for key, value in document(nodes, wires, **sockets).items() if key != "format"}


NODES = {"a": ("Number", {"value": 2}), "b": ("Number", {"value": 3}), "sum": ("Add", {}), "half": ("Divide", {"by": 2})}
PLAIN = document(
    {**NODES, "end": ("Total", {})},
    [("a.output", "sum.left"), ("b.output", "sum.right"), ("sum.output", "half.number"), ("half.quotient", "end.numbers")],
)
HALF = definition({"half": NODES["half"]}, [], inputs={"x": "half.number"}, outputs={"y": "half.quotient"})
MEAN = definition(
    {"sum": NODES["sum"], "deep": placed("half")},
    [("sum.output", "deep.x")],
    inputs={"left": "sum.left", "right": "sum.right"},
    outputs={"mean": "deep.y"},
)
SMALL = document(
    {"a": NODES["a"], "b": NODES["b"], "mean": placed("mean"), "end": ("Total", {})},
    [("a.output", "mean.left"), ("b.output", "mean.right"), ("mean.mean", "end.numbers")],
    subgraphs={"half": HALF, "mean": MEAN},
)
SAVED = document(
    {"text": ("Text", {"text": "hello"}), "out": placed("out")},
    [("text.output", "out.text")],
    subgraphs={"out": definition({"save": ("WriteText", {})}, [], inputs={"text": "save.text"})},
)


def problems(lab: Lab, content: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in validate(workflow_from_json(content), toys.PALETTE, lab.workspace)]


def test_a_nested_subgraph_runs_as_its_nodes(lab: Lab) -> None:
    finished = lab.run(SMALL)
    assert finished.status == "succeeded"
    assert list(finished.nodes) == ["a", "b", "mean--sum", "mean--deep--half", "end"]
    assert toys.CALLS == ["Number 2", "Number 3", "Add", "Total"]


def test_keys_are_those_of_the_same_graph_without_subgraphs(lab: Lab) -> None:
    plain, nested = lab.prepare(PLAIN).graph.steps, lab.prepare(SMALL).graph.steps
    assert [nested[id].key for id in nested] == [plain[id.split("--")[-1]].key for id in nested]


def test_a_workflow_without_subgraphs_is_left_as_it_is() -> None:
    workflow = workflow_from_json(PLAIN)
    assert expanded(workflow) is workflow


def test_files_carry_the_document_as_it_was_given(lab: Lab) -> None:
    finished = lab.run(SAVED)
    assert [artifact.node for artifact in finished.artifacts] == ["out--save"]
    (kept,) = (lab.output / "runs").glob("*/workflow.json")
    assert json.loads(kept.read_text())["subgraphs"].keys() == {"out"}
    assert lab.prepare(SAVED).provenance.workflow["nodes"]["out"]["type"] == "Subgraph"


def test_a_path_inside_a_subgraph_is_carried_by_its_last_name() -> None:
    content = document({"s": placed("s")}, subgraphs={"s": definition({"r": ("ReadFile", {"path": "/home/me/a.txt"})}, [])})
    carried = carried_document(workflow_from_json(content), toys.PALETTE.types)
    assert carried["subgraphs"]["s"]["nodes"]["r"]["fields"] == {"path": "a.txt"}


def test_one_definition_stands_in_several_places(lab: Lab) -> None:
    nodes = {"a": NODES["a"], "one": placed("half"), "two": placed("half")}
    wires = [("a.output", "one.x"), ("one.y", "two.x")]
    finished = lab.run(document(nodes, wires, subgraphs={"half": HALF}))
    assert list(finished.nodes) == ["a", "one--half", "two--half"]
    assert finished.status == "succeeded"


def test_a_subgraph_as_target_means_all_inside_it(lab: Lab) -> None:
    assert lab.prepare(SMALL, ["mean"]).targets == ["mean--sum", "mean--deep--half"]
    assert lab.prepare(SMALL, ["mean--sum"]).targets == ["mean--sum"]
    assert lab.prepare(SMALL, ["mean--deep"]).targets == ["mean--deep--half"]
    assert expanded_ids(workflow_from_json(SMALL), ["a", "mean"]) == {"a": ["a"], "mean": ["mean--sum", "mean--deep--half"]}


@pytest.mark.parametrize(("mode", "left"), [("muted", {"a", "b"}), ("bypassed", {"a", "b", "end"})])
def test_mode_counts_for_all_inside(lab: Lab, mode: str, left: set[str]) -> None:
    content = json.loads(json.dumps(SMALL))
    content["nodes"]["mean"]["mode"] = mode
    assert lab.prepare(content).graph.steps.keys() == left


def test_wires_from_inside_come_first_at_an_input_for_many(lab: Lab) -> None:
    inner = definition(
        {"n": ("Number", {"value": 1}), "t": ("Total", {})}, [("n.output", "t.numbers")], inputs={"more": "t.numbers"}
    )
    content = document({"a": NODES["a"], "s": placed("s")}, [("a.output", "s.more")], subgraphs={"s": inner})
    sources = lab.prepare(content).graph.steps["s--t"].inputs["numbers"]
    assert [source.node for source in sources] == ["s--n", "a"]


def test_a_wire_may_pass_through_a_subgraph_that_lies_around_others(lab: Lab) -> None:
    around = definition({"deep": placed("half")}, [], inputs={"in": "deep.x"}, outputs={"out": "deep.y"})
    nodes = {"a": NODES["a"], "s": placed("around"), "end": ("Total", {})}
    content = document(nodes, [("a.output", "s.in"), ("s.out", "end.numbers")], subgraphs={"half": HALF, "around": around})
    steps = lab.prepare(content).graph.steps
    assert [source.node for source in steps["end"].inputs["numbers"]] == ["s--deep--half"]
    assert [source.node for source in steps["s--deep--half"].inputs["number"]] == ["a"]


def test_two_ways_through_a_subgraph_are_no_circle(lab: Lab) -> None:
    """a -> s.first -> b -> s.second: only the outer nodes look as if they depended on each other."""
    inner = definition(
        {"p": NODES["half"], "q": NODES["half"]},
        [],
        inputs={"first": "p.number", "second": "q.number"},
        outputs={"first": "p.quotient", "second": "q.quotient"},
    )
    nodes = {"a": NODES["a"], "s": placed("s"), "b": NODES["half"]}
    wires = [("a.output", "s.first"), ("s.first", "b.number"), ("b.quotient", "s.second")]
    assert problems(lab, document(nodes, wires, subgraphs={"s": inner})) == []


def test_problems_inside_name_the_node_inside(lab: Lab) -> None:
    inner = definition({"n": ("Number", {"value": "x"}), "k": ("Knot", {}), "d": NODES["half"]}, [])
    found = problems(lab, document({"s": placed("s")}, subgraphs={"s": inner}))
    assert [text.split(":")[0] for text in found] == ["s--k", "s--n.value", "s--d.number"]


WRONG = {
    "unknown": (
        document({"s": placed("mena")}, subgraphs={"mean": MEAN, "half": HALF}),
        ["s.subgraph: there is no", "Did you mean mean?"],
    ),
    "unnamed": (document({"s": ("Subgraph", {})}), ["s.subgraph: there is no subgraph"]),
    "of another kind": (document({"s": ("Subgraph", {"subgraph": ["x"]})}), ["s.subgraph: there is no subgraph"]),
    "in itself": (document({"s": placed("s")}, subgraphs={"s": definition({"i": placed("s")}, [])}), ["s--i", "contains itself"]),
    "in itself, further down": (
        document(
            {"s": placed("a")}, subgraphs={"a": definition({"b": placed("b")}, []), "b": definition({"a": placed("a")}, [])}
        ),
        ["s--b--a.subgraph: the subgraph 'a' contains itself"],
    ),
    "input": (
        document({"a": NODES["a"], "s": placed("h")}, [("a.output", "s.z")], subgraphs={"h": HALF}),
        ["s.z:", "inputs are: x."],
    ),
    "output": (
        document({"s": placed("h"), "t": ("Total", {})}, [("s.z", "t.numbers")], subgraphs={"h": HALF}),
        ["s.z: the subgraph has no output 'z'", "outputs are: y."],
    ),
    "same id": (
        document({"s": placed("h"), "s--half": NODES["a"]}, subgraphs={"h": HALF}),
        ["s--half: another node has this id"],
    ),
    "too deep": (
        document(
            {"s": placed("s0")},
            subgraphs={f"s{n}": definition({"i": placed(f"s{n + 1}")}, []) for n in range(40)} | {"s40": HALF},
        ),
        ["more than 32 subgraphs lie inside each other"],
    ),
    "too many": (
        document(
            {"s": placed("s0")},
            subgraphs={f"s{n}": definition({f"i{i}": placed(f"s{n + 1}") for i in range(10)}, []) for n in range(20)}
            | {"s20": HALF},
        ),
        ["more than 100000 nodes and wires"],
    ),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_what_is_wrong_is_said_of_the_node(lab: Lab, case: str) -> None:
    content, expected = WRONG[case]
    text = "\n".join(problems(lab, content))
    assert all(part in text for part in expected), text
    with pytest.raises(WorkflowError):
        lab.prepare(content)


def test_a_missing_subgraph_hides_no_other_problem_and_makes_none(lab: Lab) -> None:
    nodes = {"s": placed("gone"), "half": NODES["half"], "bad": ("Number", {"value": "x"}), "good": placed("h")}
    wires = [("s.y", "half.number"), ("bad.output", "good.x")]
    found = problems(lab, document(nodes, wires, subgraphs={"h": HALF}))
    assert [text.split(":")[0] for text in found] == ["s.subgraph", "s.y", "bad.value"]


def test_an_end_inside_that_is_not_there_is_a_problem(lab: Lab) -> None:
    wrong = {**HALF, "inputs": {"x": "gone.number"}}
    found = problems(lab, document({"a": NODES["a"], "s": placed("h")}, [("a.output", "s.x")], subgraphs={"h": wrong}))
    assert any("s--gone" in text and "not there" in text for text in found)


def test_long_ids_are_shortened_always_in_the_same_way(lab: Lab) -> None:
    long = "n" * 60
    content = document({long: placed("h")}, subgraphs={"h": definition({"i" * 60: NODES["a"]}, [])})
    (id,) = lab.prepare(content).graph.steps
    assert id == joined(long, "i" * 60) == "n" * 31 + "-e61fac5d25aa3260853d79fbf2ff2653"
    assert len(id) == MAX_ID
