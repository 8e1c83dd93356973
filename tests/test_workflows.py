"""The shipped workflows, run for real at a small size."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from graph_runtime.discovery import load_palette
from graph_runtime.provenance import read_provenance
from graph_runtime.workflow import read_workflow, workflow_from_json
from tests.laws.runs import ALL, SHIPPED, complaints, recorded, tiny
from tests.laws.witness import Witness
from tests.models import make_model_folder
from tests.shell import PICTURES, ROOT, SMALL, Outcome, run, run_small

NODES = {"model", "images", "captions", "latents", "embeddings", "inject", "train", "sample", "grid", "pictures", "save"}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("first")
    return folder, run_small(folder)


@pytest.mark.slow
def test_the_demo_runs_every_node(first: tuple[Path, Outcome]) -> None:
    folder, outcome = first
    assert outcome.status == 0
    assert outcome.states == dict.fromkeys(NODES, "executed")
    assert set(outcome.artifacts) == {"line-style.safetensors", "before-after.png"}
    assert len(outcome.of("node_metric", "train")) == 6
    (record,) = (folder / "out" / "runs").iterdir()
    kept = {"workflow.json", "events.jsonl", "loss.csv", "versions.json", "previews", "artifacts"}
    assert {path.name for path in record.iterdir()} == kept
    assert len((record / "loss.csv").read_text().splitlines()) == 7


@pytest.mark.slow
def test_an_unchanged_workflow_executes_nothing(first: tuple[Path, Outcome]) -> None:
    folder, outcome = first
    again = run_small(folder)
    assert again.states == dict.fromkeys(NODES, "cached")
    assert again.artifacts == outcome.artifacts


@pytest.mark.slow
def test_the_same_bytes_from_another_cache_output_and_place(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        shutil.copytree(PICTURES, tmp_path / name / "pictures")
        found.append(run_small(tmp_path / name, images__folder=tmp_path / name / "pictures").artifacts)
    assert found[0] == found[1]
    assert tensors(tmp_path / "one") == tensors(first[0])


@pytest.mark.slow
def test_artifacts_carry_the_workflow_that_made_them(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    folder, outcome = first
    for name in outcome.artifacts:
        carried = read_provenance(folder / "out" / name)
        assert carried is not None
        assert workflow_from_json(carried["workflow"]).nodes["train"].fields["max_steps"] == 6
        assert set(carried["inputs"]) == {"model", "images"}
        assert "torch" in carried["versions"]
        assert str(ROOT) not in json.dumps(carried)
    with safe_open(folder / "out" / "line-style.safetensors", "pt") as file:
        assert file.metadata()["ss_network_dim"] == "2"


@pytest.mark.slow
def test_changing_only_the_prompt_trains_nothing(first: tuple[Path, Outcome]) -> None:
    changed = run_small(first[0], sample__prompts="flat style star")
    executed = {id for id, state in changed.states.items() if state == "executed"}
    assert executed == {"sample", "grid", "pictures", "save"}


@pytest.mark.slow
def test_one_more_picture_is_one_more_encoding(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    shutil.copytree(PICTURES, tmp_path / "pictures")
    shutil.copy(ROOT / "workflows" / "pictures" / "line" / "candle.webp", tmp_path / "pictures")
    more = run_small(tmp_path, cache=first[0] / "cache", images__folder=tmp_path / "pictures", train__max_steps=1)
    assert [event["total"] for event in more.of("node_progress", "latents")] == [1]
    assert [event["total"] for event in more.of("node_progress", "embeddings")] == [1]


@pytest.mark.slow
def test_a_changed_pixel_is_encoded_anew(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    from PIL import Image

    shutil.copytree(PICTURES, tmp_path / "pictures")
    with Image.open(tmp_path / "pictures" / "owl.webp") as image:
        changed = image.convert("RGB")
    changed.putpixel((3, 3), (1, 2, 3))
    changed.save(tmp_path / "pictures" / "owl.webp", lossless=True)
    again = run_small(tmp_path, cache=first[0] / "cache", images__folder=tmp_path / "pictures", train__max_steps=1)
    assert [event["total"] for event in again.of("node_progress", "latents")] == [1]
    assert not again.of("node_progress", "embeddings")


@pytest.mark.slow
def test_previews_and_their_numbers_do_not_change_the_result(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    changes = {"train__preview_every": 2, "train__preview_prompt": "flat style owl", "train__checkpoint_every": 5}
    with_previews = run_small(tmp_path, **changes)
    assert [event["step"] for event in with_previews.of("node_preview", "train")] == [2, 4, 6]
    assert tensors(tmp_path) == tensors(first[0])


def tensors(folder: Path) -> dict[str, bytes]:
    with safe_open(folder / "out" / "line-style.safetensors", "pt") as file:
        return {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_workflow_teaches_and_has_plain_ids(path: Path) -> None:
    workflow = read_workflow(path)
    assert workflow.description
    assert workflow.notes
    assert all(id.isidentifier() and id.islower() for id in workflow.nodes)
    assert all(entry.position for entry in workflow.nodes.values())


METHODS = {
    "fine_tune", "dreambooth", "textual_inversion", "dreamartist", "hypernetwork", "custom_diffusion", "null_text_inversion",
    "clip_inversion", "aesthetic_gradient", "lora", "compare_methods",
}  # fmt: skip


def test_there_is_a_workflow_for_every_method() -> None:
    assert {path.stem for path in SHIPPED} >= METHODS


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_training_that_can_shows_what_it_learns(path: Path) -> None:
    palette = load_palette().types
    trainings = [entry for entry in read_workflow(path).nodes.values() if "preview_every" in palette[entry.type].cls.model_fields]
    for entry in trainings:
        steps, every = entry.fields["max_steps"], entry.fields["preview_every"]
        assert isinstance(steps, int)
        assert isinstance(every, int)
        assert 2 <= steps / every <= 6


@pytest.mark.slow
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_workflow_runs_to_its_end(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few steps; every node keeps the three laws, and gives the result that was recorded for its version."""
    witness = Witness().watch(monkeypatch)
    changes = tiny(path)
    outcome = run(path, tmp_path, **changes)
    assert outcome.status == 0
    assert set(outcome.states.values()) == {"executed"}
    assert outcome.artifacts
    assert witness.broken == []
    assert complaints(path.stem, witness.nodes, recorded().get(path.stem, {})) == []
    again = run(path, tmp_path, **changes)
    assert set(again.states.values()) == {"cached"}
    assert again.artifacts == outcome.artifacts


@pytest.mark.parametrize(
    ("changes", "node", "field"),
    [
        ({"images__folder": "tests/data/workflows"}, "images", "folder"),
        ({"model__model": "no-such-model"}, "model", "model"),
        ({"model__model": "workflows"}, "model", "model"),
        ({"model__model": "pyproject.toml"}, "model", "model"),
    ],
)
def test_wrong_files_are_named_before_anything_runs(tmp_path: Path, changes: dict[str, str], node: str, field: str) -> None:
    outcome = run(ROOT / "workflows" / "lora.json", tmp_path, **changes)
    assert outcome.status == 2
    problems = [problem for event in outcome.events for problem in event["problems"]]
    assert {(problem["node"], problem["field"]) for problem in problems} == {(node, field)}
    assert problems[0]["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_demo_runs_on_a_model_folder_of_every_family(tmp_path: Path, family) -> None:
    folder = make_model_folder(tmp_path / "model", family)
    outcome = run_small(tmp_path, model__model=folder, images__resolution=32, sample__width=32, sample__height=32)
    assert outcome.status == 0
    with safe_open(tmp_path / "out" / "line-style.safetensors", "pt") as file:
        assert file.metadata()["ss_base_model_version"].startswith(f"custom-{family}")
        assert any(name.endswith("attn2_to_k.lora_down.weight") for name in file.keys())  # noqa: SIM118
    again = run_small(tmp_path, model__model=folder, images__resolution=32, sample__width=32, sample__height=32)
    assert set(again.states.values()) == {"cached"}


@pytest.mark.slow
def test_a_text_encoder_can_be_trained_too(tmp_path: Path) -> None:
    document = json.loads((ROOT / "workflows" / "lora.json").read_text())
    document["nodes"]["inject"]["fields"]["text_encoder"] = True
    del document["nodes"]["embeddings"]
    document["wires"] = [wire for wire in document["wires"] if "embeddings" not in wire["from"] + wire["to"]]
    document["wires"].append({"from": "captions.output", "to": "train.captions"})
    (tmp_path / "w.json").write_text(json.dumps(document))
    outcome = run(tmp_path / "w.json", tmp_path, **{name.replace(".", "__"): value for name, value in SMALL.items()})
    assert outcome.status == 0
    with safe_open(tmp_path / "out" / "line-style.safetensors", "pt") as file:
        assert any(name.startswith("lora_te_text_model_encoder_layers_0_") for name in file.keys())  # noqa: SIM118
