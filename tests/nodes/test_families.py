"""A family that only its own file names: recognised, described, merged, named in metadata, refused where it does not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nodes.diffusion.adapters.modelspec import architecture_of, kohya_metadata
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Facts, weight_folders
from nodes.diffusion.families.registry import check_method, families, known
from nodes.diffusion.formats.single_file.checkpoint_tensors import of_folder
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.merging.merge_block_weighted import MergeBlockWeighted
from nodes.methods.train_hypernet import TrainHypernet
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.nodes.node_runner import NodeRunner
from tests.toy_family import CONFIGS, ToyFamily

TOY = ToyFamily()


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Facts:
    facts: Facts = TOY
    monkeypatch.setitem(known(), TOY.name, facts)
    return facts


def write_folder(folder: Path) -> None:
    for name, config in CONFIGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(config))
    for part in weight_folders(TOY):
        save_file({"w": torch.zeros(2)}, folder / part / "model.safetensors")


def write_file(file: Path, value: float) -> None:
    names = ("layers.0.qkv", "layers.1.qkv", "x_embedder", "final")
    save_file({f"toy.{name}.weight": torch.full((6, 2), value) for name in names}, file)


def test_it_is_recognised_by_its_folder(runner: NodeRunner) -> None:
    write_folder(runner.root / "m")
    model = runner.run(LoadModel(model="m"))
    assert (model.family, model.resolution) == ("toy", 1024)
    (runner.root / "m" / "vae" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="vae holds no weights"):
        runner.run(LoadModel(model="m"))


def test_what_a_folder_lacks_is_named(runner: NodeRunner) -> None:
    write_folder(runner.root / "m")
    (runner.root / "m" / "tokenizer").rename(runner.root / "elsewhere")
    with pytest.raises(InputError, match="m has no folder 'tokenizer'"):
        runner.run(LoadModel(model="m"))


def test_it_is_recognised_by_its_file(runner: NodeRunner) -> None:
    write_file(runner.root / "m.safetensors", 0.0)
    assert runner.run(LoadModel(model="m.safetensors")).family == "toy"
    assert runner.messages.texts[0].startswith("Toy, 1024 pixels, f32; it predicts noise: all Toys do")
    config = described(runner.root / "m.safetensors") / "transformer" / "config.json"
    assert json.loads(config.read_text()) == CONFIGS["transformer/config.json"]


def test_a_part_of_its_file_is_refused_in_its_own_words(runner: NodeRunner) -> None:
    save_file({"toy.layers.0.qkv.weight": torch.zeros(6, 2)}, runner.root / "m.safetensors")
    with pytest.raises(InputError, match="is Toy and holds no final layer"):
        runner.run(LoadModel(model="m.safetensors"))


def test_its_folder_s_tensors_become_those_of_a_file() -> None:
    thirds = {f"transformer.layers.0.{third}.weight": torch.full((2, 2), float(n)) for n, third in enumerate("qkv")}
    (name, fused), *more = of_folder(thirds, TOY).items()
    assert (name, fused.shape, more) == ("toy.layers.0.qkv.weight", (6, 2), [])
    assert fused.tensor()[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_its_checkpoints_are_merged_by_its_own_blocks(runner: NodeRunner) -> None:
    for name, value in (("a", 0.0), ("b", 1.0)):
        write_file(runner.root / f"{name}.safetensors", value)
    a, b = (runner.run(LoadCheckpoint(path=f"{name}.safetensors")) for name in "ab")
    merged = runner.run(MergeBlockWeighted(ratio=0.5, blocks="L00=0.25, L01=1"), a=a, b=b)
    (artifact,) = runner.run(SaveSafetensors(precision="fp32"), model=merged)
    found = {name.split(".")[2]: float(tensor[0, 0]) for name, tensor in load_file(artifact.file).items() if "layers" in name}
    assert found == {"0": 0.25, "1": 1}
    assert metadata(artifact.file)["modelspec.architecture"] == "Toy-6"
    assert metadata(artifact.file)["modelspec.resolution"] == "1024x1024"
    with pytest.raises(InputError, match="no block 'IN00'"):
        runner.run(MergeBlockWeighted(blocks="IN00=0.5"), a=a, b=b)


def test_a_family_without_blocks_is_merged_whole(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known(), TOY.name, replace(TOY, blocks=()))
    write_file(runner.root / "a.safetensors", 1.0)
    a = runner.run(LoadCheckpoint(path="a.safetensors"))
    with pytest.raises(InputError, match="the blocks of this checkpoint have no known names"):
        runner.run(MergeBlockWeighted(), a=a, b=a)


def metadata(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_metadata_name_it(runner: NodeRunner) -> None:
    write_folder(runner.root / "m")
    model = runner.run(LoadModel(model="m"))
    architecture = architecture_of(model, runner.root / "m")
    assert architecture == "Toy-4"
    assert (
        kohya_metadata(model, LowRankAdapter(rank=2, alpha=1.0, unet_targets=("q",)), architecture, "")["ss_base_model_version"]
        == "toy"
    )


def test_a_method_that_makes_no_sense_is_refused_in_its_own_words(runner: NodeRunner) -> None:
    write_folder(runner.root / "m")
    model = runner.run(LoadModel(model="m"))
    with pytest.raises(InputError, match="Toy has no cross-attention") as refused:
        runner.run(TrainHypernet(), model=model, latents=None, embeddings=None)
    assert (refused.value.field, refused.value.remedy) == ("model", "Train a LoRA.")
    check_method("toy", "DreamBooth")


def test_every_refusal_is_a_sentence_with_a_remedy() -> None:
    refusals = [refusal for family in families() for refusal in family.refusals.values()]
    assert len(refusals) >= 5
    assert all(text.endswith(".") and " " in text for refusal in refusals for text in (refusal.message, refusal.remedy))


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(InputError, match="no model family is called 'z'"):
        check_method("z", "LoRA")
