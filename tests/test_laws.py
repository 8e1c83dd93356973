"""The three laws hold for every node of the palette: between them the workflows that tests run have all classes.

`tests/test_workflows.py` runs those workflows; here is the demo with everything switched on.
"""

from pathlib import Path

import pytest

from graph_runtime.discovery import load_palette
from tests.laws.runs import ALL, RECORD, opened, recorded
from tests.laws.witness import Witness
from tests.shell import run_small

RICH = {
    "images__flip": True,
    "images__buckets": True,
    "images__bucket_step": 16,
    "images__random_crops": 2,
    "captions__source": "tags",
    "captions__max_tags": 3,
    "captions__shuffle_tags": True,
    "captions__caption_dropout": 0.5,
    "train__gradient_accumulation_steps": 2,
    "train__ema_decay": 0.9,
    "train__noise_offset": 0.1,
    "train__snr_gamma": 5,
    "train__validation_fraction": 0.3,
    "train__validation_every": 2,
    "train__preview_every": 3,
    "train__preview_prompt": "owl",
    "save__layout": "diffusers",
}


@pytest.mark.slow
def test_the_demo_keeps_the_laws_with_everything_switched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = Witness().watch(monkeypatch)
    assert run_small(tmp_path, **RICH).status == 0
    assert len(witness.nodes) == 11
    assert witness.broken == []


def test_every_class_of_the_palette_is_held() -> None:
    own = {name for name, node_type in load_palette().types.items() if node_type.package == "latentloom"}
    held = {entry.type for path in ALL for entry in opened(path).nodes.values()}
    assert own - held == set(), "place them in a workflow in tests/data/laws"


def test_the_recorded_results_are_of_the_versions_of_today() -> None:
    types = load_palette().types
    known = {entry["type"]: entry["version"] for nodes in recorded().values() for entry in nodes.values()}
    assert known == {name: types[name].cls.version for name in known}, f"run {RECORD}"
    own = {name for name, node_type in types.items() if node_type.package == "latentloom"}
    assert own - known.keys() == set()
