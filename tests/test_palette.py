"""What holds for every node: documented, closed under JSON, found by its folder, quick to import."""

import ast
import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import nodes
from graph_runtime.discovery import load_palette
from graph_runtime.node import NodeType
from graph_runtime.wording import readable
from nodes.diffusion.handles.settings import TrainingSettings

PALETTE = load_palette()
OURS = [node_type for node_type in PALETTE.types.values() if node_type.package == "latentloom"]
WRITTEN = {
    statement.name
    for path in Path(nodes.__file__).parent.glob("*/*.py")
    for statement in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(statement, ast.ClassDef)
    and any(isinstance(part, ast.FunctionDef) and part.name == "run" for part in statement.body)
}
"""Classes with a `run` in the files of the categories."""
each_node = pytest.mark.parametrize("node_type", OURS, ids=lambda node_type: node_type.name)


def test_the_palette_is_whole() -> None:
    assert not PALETTE.problems
    assert len(WRITTEN) > 70
    assert {node_type.name for node_type in OURS} >= WRITTEN


def test_a_change_of_the_training_loop_reaches_every_training_node() -> None:
    """A node's own number hides the loop's, so it is one only where it is higher."""
    trainings = [node_type.cls for node_type in OURS if issubclass(node_type.cls, TrainingSettings)]
    assert len(trainings) >= 10
    hidden = [cls.__name__ for cls in trainings if "version" in vars(cls) and cls.version <= TrainingSettings.version]
    assert hidden == []


@each_node
def test_the_category_is_the_folder(node_type: NodeType) -> None:
    assert node_type.cls.__module__.split(".")[:2] == ["nodes", node_type.category]


@each_node
def test_node_and_fields_are_documented(node_type: NodeType) -> None:
    assert node_type.description.endswith(".")
    for name, info in node_type.cls.model_fields.items():
        assert info.description, f"{node_type.name}.{name} has no docstring"


@pytest.mark.parametrize("node_type", [each for each in OURS if each.category != "values"], ids=lambda node_type: node_type.name)
def test_a_number_that_may_be_negative_says_what_that_does(node_type: NodeType) -> None:
    for name, schema in node_type.to_json()["fields"]["properties"].items():
        if schema.get("minimum", schema.get("exclusiveMinimum", 0)) < 0:
            assert "below 0" in " ".join(schema["description"].split()), f"{node_type.name}.{name}"


@each_node
def test_every_output_and_input_has_a_named_type(node_type: NodeType) -> None:
    shown = json.loads(json.dumps(node_type.to_json()))
    assert shown["name"] == node_type.name
    assert all(socket["type"] for socket in shown["outputs"])
    made = {socket["type"] for other in OURS for socket in other.to_json()["outputs"]}
    assert all(set(socket["type"].split(" or ")) <= made for socket in shown["inputs"])


@each_node
def test_defaults_are_valid_and_round_trip(node_type: NodeType) -> None:
    required = {name for name, info in node_type.cls.model_fields.items() if info.is_required()}
    node = node_type.cls.model_validate(dict.fromkeys(required, "x"))
    assert node_type.cls.model_validate(json.loads(node.model_dump_json())) == node


@each_node
def test_a_path_field_has_a_fingerprint(node_type: NodeType) -> None:
    own = "fingerprint" in vars(node_type.cls)
    assert own or not node_type.path_fields


@each_node
def test_fields_left_out_of_the_key_exist(node_type: NodeType) -> None:
    assert node_type.cls.not_in_key <= node_type.cls.model_fields.keys()


def test_what_is_wrong_with_a_value_is_said_in_our_words() -> None:
    """Every kind of fault that a field can have, in a sentence that names no validator."""
    foreign = re.compile(r"nput should|unable to|valid (integer|number|string|boolean)|tring should|Value error")
    said: dict[str, str] = {}
    for node_type in OURS:
        for name in node_type.cls.model_fields:
            for value in ("x", 12.5, -1e30, 1e30, True, None, [1], "nan", ""):
                try:
                    node_type.cls.model_validate({name: value})
                except ValidationError as error:
                    said |= {details["type"]: readable(details) for details in error.errors(include_url=False)}
    assert len(said) > 12
    assert [text for text in said.values() if foreign.search(text) or not text.endswith(".")] == []
