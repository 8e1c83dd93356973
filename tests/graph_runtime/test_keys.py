"""Cache keys: known before anything runs, the same everywhere, different whenever the result could be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graph_runtime import session
from graph_runtime.events import NodeMessage
from graph_runtime.node import Json, OutsideFiles
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document

KEYS_SCRIPT = """
import json, sys
from pathlib import Path
from graph_runtime.cache import Cache
from graph_runtime.session import prepare
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace
from tests.graph_runtime.toys import PALETTE
folder, content = Path(sys.argv[1]), json.loads(sys.argv[2])
prepared = prepare(workflow_from_json(content), PALETTE, Workspace(folder), Cache(folder / "cache"), [])
print(json.dumps({id: step.key for id, step in prepared.graph.steps.items()}))
"""


def key(lab: Lab, kind: str, fields: dict[str, object]) -> str:
    return lab.prepare(document({"n": (kind, fields)})).graph.steps["n"].key


def test_defaults_written_out_do_not_change_a_key(lab: Lab) -> None:
    assert key(lab, "Text", {}) == key(lab, "Text", {"text": "", "style": "plain"})


def test_fields_that_cannot_change_the_result_are_left_out(lab: Lab) -> None:
    assert key(lab, "Text", {"note": "x"}) == key(lab, "Text", {"note": "y"})
    assert key(lab, "Text", {"text": "x"}) != key(lab, "Text", {"text": "y"})


def test_a_raised_version_changes_the_key(lab: Lab, monkeypatch) -> None:
    before = key(lab, "Text", {})
    monkeypatch.setattr(toys.Text, "version", 2)
    assert key(lab, "Text", {}) != before


def test_a_stem_is_shared_by_runs_that_differ_only_in_what_goes_on(lab: Lab, monkeypatch) -> None:
    def stem(fields: dict[str, object]) -> str:
        return lab.prepare(document({"n": ("Text", fields)})).graph.steps["n"].stem

    assert stem({}) == ""
    monkeypatch.setattr(toys.Text, "continues", frozenset({"text"}))
    assert stem({"text": "x"}) == stem({"text": "y", "note": "z"}) != ""
    assert stem({"text": "x"}) != stem({"text": "x", "style": "loud"})
    assert key(lab, "Text", {"text": "x"}) != key(lab, "Text", {"text": "y"})


def test_content_not_path_or_time_identifies_a_file(lab: Lab) -> None:
    one, two = lab.workspace.root / "one.txt", lab.workspace.root / "two.txt"
    one.write_text("same")
    two.write_text("same")
    assert key(lab, "ReadFile", {"path": "one.txt"}) == key(lab, "ReadFile", {"path": "two.txt"})
    before = key(lab, "ReadFile", {"path": "one.txt"})
    stamp = one.stat()
    one.write_text("diff")
    os.utime(one, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert one.stat().st_mtime_ns == stamp.st_mtime_ns
    assert key(lab, "ReadFile", {"path": "one.txt"}) != before


def test_a_moved_file_is_found_and_not_read_again(lab: Lab) -> None:
    (lab.workspace.root / "one.txt").write_text("content")
    lab.run(document({"n": ("ReadFile", {"path": "one.txt"})}))
    (lab.workspace.root / "one.txt").rename(lab.workspace.root / "two.txt")
    lab.run(document({"n": ("ReadFile", {"path": "two.txt"})}))
    assert toys.CALLS == []


def test_the_order_of_nodes_in_the_document_does_not_matter(lab: Lab) -> None:
    nodes = {"a": ("Number", {"value": 1}), "b": ("Number", {"value": 2}), "sum": ("Add", {})}
    wires = [("a.output", "sum.left"), ("b.output", "sum.right")]
    forward = lab.prepare(document(nodes, wires)).graph.steps
    backward = lab.prepare(document(dict(reversed(nodes.items())), wires[::-1])).graph.steps
    assert {id: step.key for id, step in forward.items()} == {id: step.key for id, step in backward.items()}


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_keys_are_the_same_in_another_process(lab: Lab, tmp_path: Path, hash_seed: str) -> None:
    content = document(
        {"a": ("Number", {"value": 1}), "b": ("Number", {}), "sum": ("Add", {}), "w": ("WriteText", {}), "t": ("Text", {})},
        [("a.output", "sum.left"), ("b.output", "sum.right"), ("t.output", "w.text")],
    )
    here = {id: step.key for id, step in lab.prepare(content).graph.steps.items()}
    command = [sys.executable, "-c", KEYS_SCRIPT, str(tmp_path / "workspace"), json.dumps(content)]
    there = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
    assert json.loads(there.stdout) == here


def test_saved_files_belong_to_the_library_versions_and_what_is_computed_does_not(lab: Lab, monkeypatch) -> None:
    graph = document({"t": ("Text", {}), "w": ("WriteText", {})}, [("t.output", "w.text")])
    before = lab.prepare(graph).graph.steps
    monkeypatch.setattr(session, "library_versions", lambda: {"torch": "99"})
    after = lab.prepare(graph).graph.steps
    assert before["t"].key == after["t"].key
    assert before["w"].key != after["w"].key


def test_what_a_fingerprint_warns_of_is_told_by_every_run_and_changes_no_key(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.workspace.root / "one.txt").write_text("A")
    original = toys.ReadFile.fingerprint
    for warning, state in (("first", "executed"), ("second", "cached")):

        def fingerprint(self: toys.ReadFile, files: OutsideFiles, warning: str = warning) -> Json:
            files.warnings.append(warning)
            return original(self, files)

        monkeypatch.setattr(toys.ReadFile, "fingerprint", fingerprint)
        finished = lab.run(document({"n": ("ReadFile", {"path": "one.txt"}), "t": ("Text", {})}))
        assert finished.nodes["n"].state == state
        told = [(event.node, event.level, event.text) for event in lab.events if isinstance(event, NodeMessage)]
        assert told == [("n", "warning", warning)]
