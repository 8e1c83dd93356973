"""Documents that are made to cost much: every walk over one is linear and ends."""

import difflib
from typing import Any

import pytest

from graph_runtime import graph, modes, subgraphs
from graph_runtime.errors import MAX_COMPARISONS, WorkflowError
from graph_runtime.steps import Source
from graph_runtime.sweep_reading import MAX_SWEEPS
from graph_runtime.validation import validate
from graph_runtime.workflow import MAX_PARTS, workflow_from_json
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document


def problems(lab: Lab, content: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in validate(workflow_from_json(content), toys.PALETTE, lab.workspace)]


def test_thousands_of_unknown_names_are_not_compared_with_every_node(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    monkeypatch.setattr(difflib, "get_close_matches", lambda name, known, n: compared.append(len(known)) or [])
    nodes: dict[str, Any] = {f"node{n}": ("Number", {"value": 1, f"extra{n}": 2}) for n in range(2000)}
    found = problems(lab, document(nodes, [(f"nodes{n}.output", f"node{n}.value") for n in range(2000)]))
    assert len(found) == 4000
    assert 0 < sum(compared) <= MAX_COMPARISONS


def test_an_input_that_leads_to_itself_is_a_problem(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgraphs, "joined", lambda outer, inner: outer or inner)
    content = document(
        {"a": ("Number", {}), "s": ("Subgraph", {"subgraph": "loop"})},
        [("a.output", "s.x")],
        subgraphs={"loop": {"inputs": {"x": "i.x"}}},
    )
    assert problems(lab, content) == ["s.x: this input leads through more than 32 subgraphs."]


def test_wrong_wires_at_a_subgraph_with_many_inputs_name_a_few(lab: Lab) -> None:
    inputs = {f"in{n}": "half.number" for n in range(1000)}
    definition = {"nodes": {"half": {"type": "Divide"}}, "inputs": inputs}
    content = document(
        {"a": ("Number", {}), "s": ("Subgraph", {"subgraph": "wide"})}, [("a.output", "s.z")], subgraphs={"wide": definition}
    )
    assert "Its inputs are: in0, in1," in (found := problems(lab, content)[0])
    assert found.endswith("in29, ....")


def row(changed: dict[int, str], length: int) -> dict[str, Any]:
    """A row of nodes of which each needs the one before."""
    nodes: dict[str, Any] = {"n0": ("Number", {}), **{f"n{n}": ("Divide", {"by": 2}) for n in range(1, length)}}
    wires = [(f"n{n}.{'quotient' if n else 'output'}", f"n{n + 1}.number") for n in range(length - 1)]
    content = document(nodes, wires)
    for n, mode in changed.items():
        content["nodes"][f"n{n}"]["mode"] = mode
    return content


def test_what_a_muted_node_takes_along_is_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    lacking = modes._lacking  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(modes, "_lacking", lambda step: asked.append(step.id) or lacking(step))
    built = graph.build_graph(workflow_from_json(row({3: "muted"}, 200)), toys.PALETTE.types)
    assert list(built.steps) == ["n0", "n1", "n2"]
    assert asked == [f"n{n}" for n in range(4, 200)]


def test_a_long_row_of_bypassed_nodes_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    arriving = modes._arriving  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(modes, "_arriving", lambda step, *rest: asked.append(step.id) or arriving(step, *rest))
    length = 1000
    content = row(dict.fromkeys(range(1, length - 1), "bypassed"), length)
    built = graph.build_graph(workflow_from_json(content), toys.PALETTE.types)
    assert built.steps[f"n{length - 1}"].inputs["number"] == [Source("n0", "output")]
    outputs = len(toys.PALETTE.types["Divide"].outputs)
    assert len(asked) == outputs * (length - 2)


def test_bypassed_nodes_hand_on_what_the_first_of_them_got(lab: Lab) -> None:
    prepared = lab.prepare(row({1: "bypassed", 2: "bypassed"}, 4))
    assert prepared.graph.steps["n3"].inputs["number"] == [Source("n0", "output")]


@pytest.mark.parametrize(
    "part", [{"wires": [0] * (MAX_PARTS + 1)}, {"subgraphs": {"s": {"nodes": dict.fromkeys(map(str, range(MAX_PARTS)), 1)}}}]
)
def test_a_document_of_too_many_parts_is_one_problem(part: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError) as refused:
        workflow_from_json({"format": "latentloom/1", **part})
    (problem,) = refused.value.problems
    assert "at most 100000 are taken" in problem.message


def test_too_many_sweeps_are_one_problem(lab: Lab) -> None:
    tables: dict[str, Any] = {f"t{n}": ("Table", {"x": "a.value", "x_values": "1"}) for n in range(MAX_SWEEPS + 1)}
    wires = [("a.output", f"{id}.numbers") for id in tables]
    (found,) = problems(lab, document({"a": ("Number", {}), **tables}, wires))
    assert found.startswith("t100: 101 nodes of the workflow sweep fields")
