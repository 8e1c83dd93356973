"""The shipped workflows and those of the tests, run small: between them they hold every node of the palette."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph_runtime.discovery import load_palette
from graph_runtime.migrate import migrated
from graph_runtime.workflow import Workflow, read_workflow
from tests.laws.arithmetic import arithmetic
from tests.laws.fingerprints import is_alike
from tests.laws.witness import Seen
from tests.shell import ROOT

SHIPPED = sorted((ROOT / "workflows").glob("*.json"))
ALL = [*SHIPPED, *sorted((ROOT / "tests" / "data" / "laws").glob("*.json"))]
RECORDED = ROOT / "tests" / "data" / "results.json"
RECORD = "`.venv/bin/python -m tests.laws.record`"
TINY = {
    "max_steps": 2, "num_inference_steps": 2, "inner_steps": 1, "num_class_images": 2, "batch_size": 2, "steps": 1,
    "validation_every": 1, "preview_every": 0, "cell_size": 32, "scenes_per_picture": 1,
}  # fmt: skip
FEW = {
    "train_base_model": {"all__folder": "tests/data/emoji", "base__folder": "tests/data/emoji/base"},
    "train_base_variations": {"base__folder": "tests/data/emoji/base"},
}
"""Few pictures for workflows that have thousands."""


def tiny(path: Path) -> dict[str, Any]:
    """Return the changes that make a workflow short, which change no node's kind of result."""
    changes: dict[str, Any] = dict(FEW.get(path.stem, {}))
    if path in SHIPPED:
        for id, entry in opened(path).nodes.items():
            known = load_palette().types[entry.type].cls.model_fields
            changes |= {f"{id}__{name}": value for name, value in TINY.items() if name in known}
    return changes


def opened(path: Path) -> Workflow:
    """Return a workflow with the names of today."""
    return migrated(read_workflow(path), load_palette().types)


def recorded() -> dict[str, dict[str, Any]]:
    """Return what was recorded: by workflow and node its class, its version, its fields and its result."""
    return json.loads(RECORDED.read_text())["workflows"]


def is_elsewhere() -> bool:
    """Return whether the results were recorded on a machine that adds up in another order."""
    return json.loads(RECORDED.read_text())["arithmetic"] != arithmetic()


def to_record(nodes: Mapping[str, Seen]) -> dict[str, Any]:
    """Return what is recorded of the nodes of a run."""
    types = load_palette().types
    return {
        id: {
            "type": seen.type,
            "version": types[seen.type].cls.version,
            "fields": hashlib.sha256(seen.fields.encode()).hexdigest()[:16],
            "result": seen.result,
        }
        for id, seen in nodes.items()
    }


def complaints(name: str, nodes: Mapping[str, Seen], known: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with results, beginning where it begins: what comes after a changed result is not to blame."""
    found = to_record(nodes)
    elsewhere, wrong = is_elsewhere(), list[str]()
    changed = set[str]()
    for id, entry in found.items():
        before, where = known.get(id, {}), f"{entry['type']} ({name}.{id})"
        is_described = all(before.get(part) == entry[part] for part in ("type", "version", "fields"))
        if is_described and is_alike(before["result"], entry["result"], elsewhere=elsewhere):
            continue
        is_first = changed.isdisjoint(nodes[id].sources)
        changed.add(id)
        if not is_described:
            wrong.append(
                f"{RECORDED.name} does not describe {where} of version {entry['version']} with its fields: run {RECORD}."
            )
        elif is_first:
            wrong.append(
                f"{where} gives another result than was recorded for its version {entry['version']}. "
                f"Raise the version if that is meant and run {RECORD}, else restore the result."
            )
    return wrong
