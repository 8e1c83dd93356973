"""Real files of earlier releases still load and mean the same: workflows from the history, and artifacts made then."""

import json
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.discovery import load_palette
from graph_runtime.migrate import migrated
from graph_runtime.provenance import read_provenance
from graph_runtime.validation import validate
from graph_runtime.workflow import parse_workflow, read_workflow, workflow_from_json
from graph_runtime.workspace import Workspace
from tests.shell import ROOT

RELEASES = Path(__file__).parent / "data" / "releases"
WORKFLOWS = sorted(RELEASES.glob("*.json"))
ARTIFACTS = sorted((RELEASES / "artifacts").iterdir())
WORD = {"placeholder": "placeholder_token", "initializer": "initializer_token"}
RENAMED: dict[str, dict[str, str]] = {
    "TrainTI": {**WORD, "vectors": "num_vectors"},
    "TrainDreamArtist": {**WORD, "vectors": "num_vectors", "negative_vectors": "num_negative_vectors"},
    "TrainCustomDiffusion": WORD,
    "GenerateClassImages": {"prompt": "class_prompt", "count": "num_class_images"},
    "LoadEmbedding": {"placeholder": "placeholder_token"},
}
"""What fields of that time are called now; what is not here has kept its name."""


def check(document: dict[str, Any]) -> None:
    """Hold a document against the rule that every value of then is there now, under its name of today, and nothing else."""
    palette = load_palette()
    found = migrated(workflow_from_json(document), palette.types)
    assert validate(found, palette, Workspace(ROOT, packages=palette.folders)) == []
    for id, entry in document["nodes"].items():
        names = RENAMED.get(entry["type"], {})
        assert found.nodes[id].fields == {names.get(name, name): value for name, value in entry.get("fields", {}).items()}
        assert found.nodes[id].type == entry["type"]
    assert [wire.model_dump(mode="json", by_alias=True, exclude_defaults=True) for wire in found.wires] == document["wires"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_of_an_earlier_release_means_the_same(path: Path) -> None:
    check(json.loads(path.read_text()))


@pytest.mark.parametrize("path", ARTIFACTS, ids=lambda path: path.name)
def test_the_workflow_inside_an_artifact_of_an_earlier_release_means_the_same(path: Path) -> None:
    carried = read_provenance(path)
    assert carried is not None
    assert "placeholder" in carried["workflow"]["nodes"]["train"]["fields"]
    check(carried["workflow"])


def test_fields_that_never_had_an_effect_are_left_out() -> None:
    fields = {"snr_gamma": 5.0, "preview_every": 0, "max_steps": 3}
    document = {"format": "latentloom/1", "nodes": {"a": {"type": "TrainVAE", "fields": fields}}}
    assert migrated(workflow_from_json(document), load_palette().types).nodes["a"].fields == {"max_steps": 3}


def test_documents_of_today_are_written_as_before_versions_were_stored() -> None:
    """Until a class renames something, files, artifacts and cache keys keep their bytes."""
    types = load_palette().types
    for path in sorted((ROOT / "workflows").glob("*.json")):
        workflow = read_workflow(path)
        assert migrated(workflow, types).to_json() == workflow.to_json() == parse_workflow(path.read_bytes()).to_json()
