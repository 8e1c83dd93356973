"""All problems at once, each with its place and its remedy."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.validation import validate
from graph_runtime.wording import readable
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import PathRefused, Workspace
from tests.graph_runtime.conftest import Lab, document
from tests.graph_runtime.toys import PALETTE


def problems(lab: Lab, content: dict[str, Any]) -> list[Problem]:
    return validate(workflow_from_json(content), PALETTE, lab.workspace)


def only(lab: Lab, content: dict[str, Any]) -> Problem:
    found = problems(lab, content)
    assert len(found) == 1, found
    return found[0]


def test_an_unknown_type_names_the_nearest(lab: Lab) -> None:
    found = only(lab, document({"x": ("Numbr", {})}))
    assert (found.node, found.remedy) == ("x", "Did you mean Number?")


def test_an_unknown_field_names_the_nearest(lab: Lab) -> None:
    found = only(lab, document({"x": ("Number", {"valeu": 3})}))
    assert (found.node, found.field, found.remedy) == ("x", "valeu", "Did you mean value?")


@pytest.mark.parametrize("value", ["x", 1.5, None, [], {}, True, 10**30])
def test_a_bad_value_names_its_field(lab: Lab, value: object) -> None:
    content = document({"n": ("Number", {}), "x": ("Divide", {"by": value})}, [("n.output", "x.number")])
    found = [p for p in problems(lab, content) if p.field == "by"]
    assert len(found) == (0 if value in (True, 10**30) else 1)


def test_a_missing_wire_is_named(lab: Lab) -> None:
    found = only(lab, document({"a": ("Number", {}), "sum": ("Add", {})}, [("a.output", "sum.left")]))
    assert (found.node, found.field, found.remedy) == ("sum", "right", "It needs int.")


def test_a_type_mismatch_says_what_is_needed(lab: Lab) -> None:
    wires = [("t.output", "sum.left"), ("n.output", "sum.right")]
    found = only(lab, document({"t": ("Text", {}), "n": ("Number", {}), "sum": ("Add", {})}, wires))
    assert (found.node, found.field) == ("sum", "left")
    assert "t.output is str, but int is needed" in found.message


def test_a_text_fits_into_a_field_of_choices_but_not_into_a_number(lab: Lab) -> None:
    nodes = {"t": ("Text", {"text": "loud"}), "u": ("Text", {}), "n": ("Number", {})}
    assert not problems(lab, document(nodes, [("t.output", "u.style")]))
    assert problems(lab, document(nodes, [("t.output", "n.value")]))


def test_two_wires_into_a_single_input(lab: Lab) -> None:
    wires = [("n.output", "sum.left"), ("n.output", "sum.right"), ("m.output", "sum.left")]
    found = only(lab, document({"n": ("Number", {}), "m": ("Number", {}), "sum": ("Add", {})}, wires))
    assert (found.node, found.field) == ("sum", "left")
    assert "2 wires" in found.message


def test_a_cycle_names_its_nodes(lab: Lab) -> None:
    wires = [("a.output", "b.left"), ("a.output", "b.right"), ("b.output", "a.left"), ("n.output", "a.right")]
    found = only(lab, document({"n": ("Number", {}), "a": ("Add", {}), "b": ("Add", {})}, wires))
    assert "circle: a, b." in found.message


def test_a_node_wired_to_itself_is_a_cycle(lab: Lab) -> None:
    found = only(lab, document({"a": ("Add", {})}, [("a.output", "a.left"), ("a.output", "a.right")]))
    assert "circle: a." in found.message


@pytest.mark.parametrize("end", ["ghost.output", "n.nothing"])
def test_a_wire_from_nowhere(lab: Lab, end: str) -> None:
    assert problems(lab, document({"n": ("Number", {}), "t": ("Total", {})}, [(end, "t.numbers")]))


def test_all_problems_come_at_once(lab: Lab) -> None:
    content = document(
        {
            "a": ("Numbr", {}),
            "b": ("Number", {"value": "x"}),
            "sum": ("Add", {"zz": 1}),
            "f": ("ReadFile", {"path": "/etc/passwd"}),
        },
        [("b.output", "sum.left"), ("b.output", "ghost.right")],
    )
    places = {(p.node, p.field) for p in problems(lab, content)}
    assert places == {("a", ""), ("b", "value"), ("sum", "zz"), ("sum", "right"), ("f", "path"), ("ghost", "")}


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.txt", "a/../../secret.txt", "link/secret.txt", "C:\\x", "a\0b", "absent"]
)
def test_paths_out_of_the_workspace_are_refused(lab: Lab, path: str) -> None:
    (lab.workspace.root.parent / "secret.txt").write_text("secret")
    (lab.workspace.root / "link").symlink_to(lab.workspace.root.parent)
    found = only(lab, document({"f": ("ReadFile", {"path": path})}))
    assert (found.node, found.field) == ("f", "path")


def test_a_target_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(WorkflowError, match="not in the workflow"):
        lab.run(document({"n": ("Number", {})}), ["ghost"])


def test_a_field_that_names_outside_files_takes_no_wire(lab: Lab) -> None:
    content = document({"t": ("Text", {"text": "/etc/passwd"}), "f": ("ReadFile", {})}, [("t.output", "f.path")])
    found = only(lab, content)
    assert (found.node, found.field) == ("f", "path")
    assert "takes no wire" in found.message


def test_a_path_longer_than_any_name_is_a_problem_of_its_field(lab: Lab) -> None:
    found = only(lab, document({"f": ("ReadFile", {"path": "x" * 5000})}))
    assert (found.node, found.field) == ("f", "path")


def test_what_the_workspace_lacks_is_found_in_an_installed_package(tmp_path: Path) -> None:
    package = tmp_path / "installed" / "shipped"
    (package / "pictures").mkdir(parents=True)
    (root := tmp_path / "root").mkdir()
    workspace = Workspace(root, packages=(package,))
    assert workspace.resolve("shipped/pictures") == package / "pictures"
    (root / "shipped" / "pictures").mkdir(parents=True)
    assert workspace.resolve("shipped/pictures") == root / "shipped" / "pictures"
    with pytest.raises(PathRefused):
        workspace.resolve("shipped/../../root2")


def test_nan_is_named_and_not_measured_against_bounds() -> None:
    rate = TypeAdapter(Annotated[float, Field(gt=0, le=10)])
    with pytest.raises(ValidationError) as caught:
        rate.validate_python("nan")
    assert readable(caught.value.errors()[0]) == "a finite number is needed, not nan."


def test_a_field_whose_wire_comes_from_a_muted_node_takes_its_own_value_or_the_node_along(lab: Lab) -> None:
    nodes = {"n": ("Number", {}), "off": ("Number", {"value": 5}), "set": ("Divide", {"by": 2}), "bare": ("Divide", {})}
    wires = [(f"{source}.output", f"{id}.{name}") for id in ("set", "bare") for source, name in (("n", "number"), ("off", "by"))]
    content = document(nodes, wires)
    content["nodes"]["off"]["mode"] = "muted"
    assert list(lab.prepare(content).graph.steps) == ["n", "set"]


def test_fields_that_are_wrong_without_a_muted_wire_are_a_problem(lab: Lab) -> None:
    nodes = {"n": ("Number", {}), "off": ("Number", {"value": 5}), "b": ("Between", {"low": 20})}
    content = document(nodes, [("n.output", "b.number"), ("off.output", "b.high")])
    content["nodes"]["off"]["mode"] = "muted"
    with pytest.raises(WorkflowError, match="low is above high"):
        lab.prepare(content)
    (problem,) = problems(lab, content)
    assert problem.node == "b"
    assert "low is above high" in problem.message
