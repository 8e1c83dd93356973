"""Documents that are made to cost much: every walk over one is linear and ends."""

import difflib
from typing import Any

import pytest

from graph_runtime import graph, subgraphs
from graph_runtime.errors import MAX_COMPARISONS, WorkflowError
from graph_runtime.graph import Source
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


def row(modes: dict[int, str], length: int) -> dict[str, Any]:
    """A row of nodes of which each needs the one before."""
    nodes: dict[str, Any] = {"n0": ("Number", {}), **{f"n{n}": ("Divide", {"by": 2}) for n in range(1, length)}}
    wires = [(f"n{n}.{'quotient' if n else 'output'}", f"n{n + 1}.number") for n in range(length - 1)]
    content = document(nodes, wires)
    for n, mode in modes.items():
        content["nodes"][f"n{n}"]["mode"] = mode
    return content


def test_what_a_muted_node_takes_along_is_found_in_one_pass(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    needed = graph._required  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(graph, "_required", lambda step: asked.append(step.id) or needed(step))
    content = row({3: "muted"}, 200)
    assert list(lab.prepare(content).graph.steps) == ["n0", "n1", "n2"]
    assert len(asked) == 199


def test_a_long_row_of_bypassed_nodes_is_walked_once() -> None:
    class Counting(dict[str, Source | None]):
        asked = 0

        def get(self, key: str, default: Any = None) -> Any:
            Counting.asked += 1
            return super().get(key, default)

    passes: dict[str, Any] = {f"n{n}": Counting({"out": Source(f"n{n - 1}", "out")}) for n in range(1, 1000)}
    found = [graph._followed(Source(f"n{n}", "out"), passes) for n in range(999, 0, -1)]  # pyright: ignore[reportPrivateUsage]
    assert found == [Source("n0", "out")] * 999
    assert Counting.asked < 3000


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
