"""What the graph alone tells is told before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graph_runtime.cache import Cache
from graph_runtime.context import RunContext
from graph_runtime.discovery import load_palette
from graph_runtime.errors import WorkflowError
from graph_runtime.node import Node, describe
from graph_runtime.overrides import apply_overrides
from graph_runtime.session import prepare
from graph_runtime.validation import validate
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint, Source
from nodes.merging.merge_weighted import MergeWeighted
from tests.models import make_model_folder
from tests.nodes.test_single_files import saved

ROOT = Path(__file__).parents[2]


def template(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text())


def told(document: dict[str, Any]) -> list[str]:
    found = validate(workflow_from_json(document), load_palette(), Workspace(ROOT))
    return [f"{problem.node}.{problem.field}: {problem.message}" for problem in found]


def without(document: dict[str, Any], *nodes: str) -> dict[str, Any]:
    for id in nodes:
        del document["nodes"][id]
    ends = [(wire, {wire["from"].split(".")[0], wire["to"].split(".")[0]}) for wire in document["wires"]]
    document["wires"] = [wire for wire, both in ends if not both & set(nodes)]
    return document


def small(nodes: dict[str, Any], *wires: str) -> dict[str, Any]:
    ends = [wire.split(" ") for wire in wires]
    entries = {id: {"type": kind, "fields": fields} for id, (kind, fields) in nodes.items()}
    return {"format": "latentloom/1", "nodes": entries, "wires": [{"from": a, "to": b} for a, b in ends]}


def test_one_of_two_inputs_is_missed_at_once() -> None:
    assert told(without(template("lora"), "embeddings")) == ["train.embeddings: one of embeddings and captions needs a wire."]


def test_the_wrong_one_of_two_inputs_is_missed_too() -> None:
    document = without(template("lora"), "embeddings")
    document["wires"].append({"from": "captions.output", "to": "train.captions"})
    assert told(document) == ["train.embeddings: the text embeddings are missing."]
    document["nodes"]["inject"]["fields"]["text_encoder"] = True
    assert told(document) == []


def test_a_training_without_anything_to_train_is_refused() -> None:
    document = without(template("lora"), "inject")
    document["wires"].append({"from": "model.output", "to": "train.model"})
    assert told(document) == ["train.model: this model has nothing to train."]


def test_an_untrained_lora_is_neither_drawn_nor_saved() -> None:
    document = template("lora")
    for wire in document["wires"]:
        if wire["from"] == "train.output":
            wire["from"] = "inject.output"
    message = "this model has an adapter that is not trained."
    assert sorted(told(document)) == [f"sample.models: {message}", f"save.model: {message}"]


def test_class_pictures_are_missed_at_once() -> None:
    document = template("dreambooth")
    document["wires"] = [wire for wire in document["wires"] if not wire["to"].endswith(".class_latents")]
    assert [line.partition(".")[2] for line in told(document)] == ["class_latents: the class pictures are missing."]


MODEL = ("LoadModel", {"model": "loom-emoji"})
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "one checkpoint": (
        small({"a": ("AsCheckpoint", {}), "m": MODEL, "x": ("MergeWeighted", {})}, "m.output a.model", "a.output x.models"),
        "x.models: a merge needs at least two checkpoints.",
    ),
    "three weights for two": (
        small(
            {"a": ("AsCheckpoint", {}), "b": ("AsCheckpoint", {}), "m": MODEL, "x": ("MergeWeighted", {"weights": "1, 2, 3"})},
            *("m.output a.model", "m.output b.model", "a.output x.models", "b.output x.models"),
        ),
        "x.weights: there are 3 weights for 2 checkpoints.",
    ),
    "nothing kept": (
        small(
            {
                "m": MODEL,
                "a": ("AsCheckpoint", {}),
                "x": ("PruneCheckpoint", dict.fromkeys(("unet", "vae", "text_encoders"), False)),
            },
            *("m.output a.model", "a.output x.checkpoint"),
        ),
        "x.unet: nothing is kept.",
    ),
    "no custom layers": (
        small({"m": MODEL, "x": ("InjectLoRA", {"targets": "custom"})}, "m.output x.model"),
        "x.custom_targets: no layers are named.",
    ),
    "no LoRA to save": (
        small({"m": MODEL, "x": ("SaveSafetensors", {})}, "m.output x.model"),
        "x.model: this model has no LoRA.",
    ),
    "a schedule": (
        small({"m": MODEL, "x": ("SampleImages", {"negative_prompt": "[a|b]"})}, "m.output x.models"),
        "x.negative_prompt: '[a|b]' would change the prompt between steps, which is not done here.",
    ),
    "no captioner": (
        small(
            {"i": ("LoadImages", {"folder": "workflows/pictures/line"}), "x": ("CaptionDataset", {"source": "captioner"})},
            "i.output x.images",
        ),
        "x.captioner: no captioner is chosen.",
    ),
    "no pixels to compare": (
        small(
            {"m": MODEL, "s": ("SampleImages", {}), "x": ("ScoreImages", {"psnr": True})},
            *("m.output s.models", "s.output x.images"),
        ),
        "x.references: there is nothing to compare pixels with.",
    ),
    "no file": (small({"m": MODEL, "x": ("LoadLoRA", {"file": ""})}, "m.output x.model"), "x.file: nothing is chosen."),
    "no picture or embedding": (
        small({"m": ("LoadImageVariation", {"model": "workflows"}), "x": ("SampleVariation", {})}, "m.output x.model"),
        "x.embeddings: one of embeddings and images needs a wire.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_by_the_node_that_meets_it(name: str) -> None:
    document, expected = CASES[name]
    assert told(document) == [expected]


def planned(document: dict[str, Any], folder: Path, target: str) -> list[str]:
    """Return the problems of a workflow in a folder that are known without running it."""
    cache = Cache(folder / "cache")
    try:
        prepare(workflow_from_json(document), load_palette(), Workspace(folder), cache, [target])
    except WorkflowError as error:
        return [f"{problem.node}.{problem.field}: {problem.message}" for problem in error.problems]
    finally:
        cache.close()
    return []


def merge(*paths: str, bake: bool = False) -> dict[str, Any]:
    """A merge of checkpoints, whose VAE comes from the second if `bake` says so."""
    loaders = {f"l{n}": ("LoadCheckpoint", {"path": path}) for n, path in enumerate(paths)}
    sources = {id: f"{id}.output" for id in loaders}
    if bake:
        wires = ["l1.output b.vae", "l0.output b.checkpoint", "b.output x.models", "l0.output x.models"]
        return small({**loaders, "b": ("BakeVAE", {}), "x": ("MergeWeighted", {})}, *wires)
    pruned = ("PruneCheckpoint", {}), f"{sources['l0']} p.checkpoint"
    wires = [pruned[1], "p.output x.models", *(f"{sources[id]} x.models" for id in list(loaders)[1:])]
    return small({**loaders, "p": pruned[0], "x": ("MergeWeighted", {})}, *wires)


def test_checkpoints_that_cannot_be_merged_are_refused_before_the_run(tmp_path: Path) -> None:
    for family in ("sd1", "sdxl"):
        saved(make_model_folder(tmp_path / family, family), tmp_path / f"{family}.safetensors")
    file, folder = "sd1.safetensors", "sd1"
    assert planned(merge(file, file), tmp_path, "x") == []
    assert planned(merge(folder, folder), tmp_path, "x") == []
    assert planned(merge(file, folder), tmp_path, "x") == ["x.models: sd1 is a single file and sd1 is a folder."]
    two = ["x.models: sd1 is of the family sd1 and sdxl of sdxl."]
    assert planned(merge(file, "sdxl.safetensors"), tmp_path, "x") == two
    assert planned(merge(file, folder, bake=True), tmp_path, "x") == [], "a VAE may come from another layout"


def test_what_is_refused_before_the_run_is_what_the_run_refuses(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    file = saved(folder, tmp_path / "m.safetensors")
    inputs = [Checkpoint(Source(digest=str(place), name=place.name), "sd1") for place in (file, folder)]
    with pytest.raises(InputError, match="no tensor in common"):
        MergeWeighted().run(inputs, RunContext(device="cpu", located={str(place): place for place in (file, folder)}))


def test_a_folder_without_captions_is_refused_before_the_run(tmp_path: Path) -> None:
    (pictures := tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    fields: dict[str, Any] = {}
    document = small({"i": ("LoadImages", {"folder": "pictures"}), "x": ("CaptionDataset", fields)}, "i.output x.images")
    assert planned(document, tmp_path, "x") == ["x.source: the pictures have no captions."]
    fields["source"] = "file name"
    assert planned(document, tmp_path, "x") == []
    fields |= {"source": "sidecar", "template": "a drawing"}
    assert planned(document, tmp_path, "x") == []
    del fields["template"]
    (pictures / "a.txt").write_text("a bird")
    assert planned(document, tmp_path, "x") == []


def test_one_of_names_optional_inputs() -> None:
    class Strict(Node):
        """Speaks of an input that is required anyway."""

        one_of = (("model",),)

        def run(self, model: DiffusionModel) -> DiffusionModel:
            return model

    with pytest.raises(TypeError, match="model, of which one_of speaks, is no optional input"):
        describe(Strict)


def peft_folder(place: Path) -> Path:
    place.mkdir()
    (place / "adapter_model.safetensors").write_bytes(b"weights")
    (place / "adapter_config.json").write_text("{}")
    return place


def test_a_lora_may_be_a_folder_within_the_workspace_or_named_outside_it(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    palette, cache = load_palette(), Cache(tmp_path / "cache")
    document = small({"m": ("LoadModel", {}), "l": ("LoadLoRA", {"file": "inside"})}, "m.output l.model")
    for folder in (peft_folder(tmp_path / "workspace" / "inside"), peft_folder(tmp_path / "outside")):
        changed, trusted = apply_overrides(workflow_from_json(document), [f"l.file={folder}"], palette, tmp_path / "workspace")
        workspace = Workspace(tmp_path / "workspace", packages=palette.folders, trusted=tuple(trusted))
        assert validate(changed, palette, workspace) == []
        planned = prepare(changed, palette, workspace, cache, ["l"])
        assert folder / "adapter_model.safetensors" in planned.files.located.values()
    cache.close()


def test_a_path_to_nothing_is_not_said_to_be_looked_for_in_the_workspace_when_it_is_absolute(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    document = small({"m": ("LoadModel", {}), "l": ("LoadLoRA", {"file": str(missing)})}, "m.output l.model")
    found = validate(workflow_from_json(document), load_palette(), Workspace(tmp_path))
    assert [str(problem) for problem in found] == [f"l.file: there is no file or folder '{missing}'. Choose a file or folder."]
