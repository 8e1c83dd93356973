"""The document: what can be read, what cannot, and what survives a round trip."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from graph_runtime import workflow as module
from graph_runtime.errors import WorkflowError
from graph_runtime.validation import validate
from graph_runtime.workflow import Workflow, json_schema, parse_workflow, read_workflow, save_workflow, workflow_from_json
from graph_runtime.workspace import Workspace
from tests.graph_runtime.conftest import document
from tests.graph_runtime.toys import PALETTE

SAVED = sorted((Path(__file__).parent.parent / "data" / "workflows").glob("*.json"))
SCHEMA = Path(module.__file__).parent / "workflow.schema.json"


def test_there_are_saved_files() -> None:
    assert len(SAVED) >= 2


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_every_file_ever_saved_still_loads(path: Path, tmp_path: Path) -> None:
    workflow = read_workflow(path)
    save_workflow(workflow, tmp_path / "again.json")
    assert read_workflow(tmp_path / "again.json") == workflow


def test_an_unknown_node_survives_load_and_save(tmp_path: Path) -> None:
    content = document({"x": ("FromTheFuture", {"deep": {"a": [1, None, {"b": "c"}]}})})
    content["nodes"]["x"] |= {"position": [1.5, -2.0], "mode": "muted", "color": "#fff"}
    content |= {"groups": [{"title": "G", "nodes": ["x"]}], "notes": [{"text": "**hi**"}]}
    save_workflow(workflow_from_json(content), tmp_path / "w.json")
    saved = json.loads((tmp_path / "w.json").read_text())
    assert saved["nodes"]["x"] == content["nodes"]["x"]
    assert saved["groups"] == content["groups"]
    assert saved["notes"] == content["notes"]


def test_an_older_format_is_migrated(monkeypatch) -> None:
    def rename(old: dict[str, Any]) -> dict[str, Any]:
        return {"format": "latentloom/1", "nodes": old["boxes"]}

    monkeypatch.setattr(module, "MIGRATIONS", {"latentloom/0": rename})
    assert list(workflow_from_json({"format": "latentloom/0", "boxes": {"a": {"type": "Number"}}}).nodes) == ["a"]


def test_the_published_schema_is_the_current_one() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_document_may_begin_with_a_byte_order_mark(encoding: str) -> None:
    text = '{"format": "latentloom/1", "name": "caf\u00e9"}'
    assert parse_workflow(text.encode(encoding)).name == "café"


HOSTILE = {
    "truncated": (b'{"format": "latentloom/1", "nodes": {', "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "binary": (bytes(range(256)), "not valid JSON"),
    "nan": (b'{"format": "latentloom/1", "nodes": {"a": {"type": "T", "fields": {"x": NaN}}}}', "NaN"),
    "infinity": (b'{"format": "latentloom/1", "nodes": {"a": {"type": "T", "position": [1e999, 0]}}}', "finite"),
    "huge int": (b'{"format": "latentloom/1", "name": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    "deep": (b'{"format": "latentloom/1", "nodes": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    "duplicate id": (b'{"format": "latentloom/1", "nodes": {"a": {"type": "T"}, "a": {"type": "T"}}}', "appears twice"),
    "half a surrogate pair": (b'{"format": "latentloom/1", "name": "\\ud800"}', "surrogates not allowed"),
    "list": (b"[1, 2]", "not a Latent Loom workflow"),
    "newer": (b'{"format": "latentloom/9"}', "latentloom/9"),
    "format of another type": (b'{"format": [1]}', "reads 'latentloom/1'"),
    "wrong types": (b'{"format": "latentloom/1", "nodes": [], "wires": {}}', "dictionary"),
    "unknown key": (b'{"format": "latentloom/1", "nodez": {}}', "nodez"),
    "bad id": (b'{"format": "latentloom/1", "nodes": {"../a": {"type": "T"}}}', "form that is needed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_one_clear_error(name: str) -> None:
    content, expected = HOSTILE[name]
    with pytest.raises(WorkflowError) as caught:
        parse_workflow(content)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_fifty_megabytes_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(WorkflowError, match="50 MiB"):
        read_workflow(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
IDS = st.sampled_from(["a", "b", "c", "d"])
NODES = st.dictionaries(
    IDS,
    st.fixed_dictionaries(
        {"type": st.sampled_from([*PALETTE.types, "Nothing"])},
        optional={
            "fields": st.dictionaries(st.sampled_from(["value", "offset", "by", "path", "text", "zz"]), JSON, max_size=3),
            "mode": st.sampled_from(["active", "muted", "bypassed", "odd"]),
        },
    ),
)
SOCKETS = st.sampled_from(["output", "left", "right", "number", "numbers", "quotient", "by", "text", "zz"])
ENDS = st.builds("{}.{}".format, IDS, SOCKETS)
WIRES = st.lists(st.fixed_dictionaries({"from": ENDS, "to": ENDS}), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.one_of(JSON, st.fixed_dictionaries({"format": st.just("latentloom/1"), "nodes": NODES, "wires": WIRES})))
def test_any_document_is_run_or_refused_with_reasons(content: Any) -> None:
    try:
        workflow = workflow_from_json(content)
    except WorkflowError as refused:
        reasons = refused.problems
    else:
        check(workflow)
        return
    assert reasons


def check(workflow: Workflow) -> None:
    problems = validate(workflow, PALETTE, Workspace(Path("/tmp")))
    assert all(problem.message for problem in problems)
    assert workflow_from_json(workflow.to_json()) == workflow
