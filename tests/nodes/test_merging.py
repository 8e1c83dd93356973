"""Merge nodes: from files in the workspace to one file, and what they refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.merge_add_difference import MergeAddDifference
from nodes.merging.merge_block_weighted import MergeBlockWeighted
from nodes.merging.merge_cosine import MergeCosine
from nodes.merging.merge_dare import MergeDare
from nodes.merging.merge_model_stock import MergeModelStock
from nodes.merging.merge_slerp import MergeSlerp
from nodes.merging.merge_ties import MergeTies
from nodes.merging.merge_train_difference import MergeTrainDifference
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.prune_checkpoint import PruneCheckpoint
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.models import make_model_folder, random_adapter
from tests.nodes.node_runner import NodeRunner


def add(runner: NodeRunner, name: str, seed: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(seed)
    save_file({"model.w": torch.randn(6, 5, generator=generator)}, runner.root / f"{name}.safetensors")
    return runner.run(LoadCheckpoint(path=f"{name}.safetensors"))


def saved(runner: NodeRunner, checkpoint: Checkpoint, **fields: Any) -> Path:
    (artifact,) = runner.run(SaveSafetensors(**{"filename": "m", "precision": "fp32", **fields}), model=checkpoint)
    assert artifact.name == "m.safetensors"
    return artifact.file


def test_every_method_ends_in_a_file_with_its_recipe(runner: NodeRunner) -> None:
    a, b, c = (add(runner, name, seed) for seed, name in enumerate("abc"))
    merges = {
        "Weighted sum": runner.run(MergeWeighted(ratio=0.3), models=[a, b]),
        "Add difference": runner.run(MergeAddDifference(strength=0.5), a=a, b=b, c=c),
        "slerp": runner.run(MergeSlerp(), a=a, b=b),
        "cosine": runner.run(MergeCosine(), a=a, b=b),
        "ties": runner.run(MergeTies(), base=a, models=[b, c]),
        "dare": runner.run(MergeDare(seed=3), base=a, models=[b, c]),
        "model stock": runner.run(MergeModelStock(), base=a, models=[b, c]),
        "train difference": runner.run(MergeTrainDifference(), a=a, b=b, c=c),
    }
    for method, merge in merges.items():
        path = saved(runner, merge, title="T")
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        recipe, models = json.loads(metadata["sd_merge_recipe"]), json.loads(metadata["sd_merge_models"])
        assert recipe["interp_method"] == method
        assert recipe["primary_model_hash"] == a.recipe.digest
        assert recipe["custom_name"] == "T"
        assert (recipe["save_as_half"], recipe["is_inpainting"], recipe["is_instruct_pix2pix"]) == (False, False, False)
        assert set(models) >= {a.recipe.digest, b.recipe.digest}
        assert metadata["modelspec.title"] == "T"
        assert "latentloom" in metadata
        assert path.read_bytes() == saved(runner, merge, title="T").read_bytes()


@pytest.mark.parametrize(("channels", "kinds"), [(9, (True, False)), (8, (False, True)), (4, (False, False))])
def test_the_recipe_tells_what_the_first_layer_takes(runner: NodeRunner, channels: int, kinds: tuple[bool, bool]) -> None:
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, channels, 1, 1)}, runner.root / "a.safetensors")
    a = runner.run(LoadCheckpoint(path="a.safetensors"))
    with safe_open(saved(runner, runner.run(MergeWeighted(), models=[a, a]), precision="fp16"), "pt") as file:
        recipe = json.loads(file.metadata()["sd_merge_recipe"])
    assert (recipe["is_inpainting"], recipe["is_instruct_pix2pix"]) == kinds
    assert recipe["save_as_half"]


def test_merges_of_merges_are_one_expression(runner: NodeRunner) -> None:
    a, b, c = (add(runner, name, seed) for seed, name in enumerate("abc"))
    inner = runner.run(MergeWeighted(ratio=0.3), models=[a, b])
    outer = runner.run(MergeWeighted(weights="0.5, 0.25, 0.25"), models=[inner, c, a])
    x, y, z = (load_file(runner.root / f"{name}.safetensors")["model.w"].double() for name in "abc")
    found = load_file(saved(runner, outer))["model.w"].double()
    torch.testing.assert_close(found, 0.5 * (0.7 * x + 0.3 * y) + 0.25 * z + 0.25 * x, rtol=1e-5, atol=1e-6)


def test_a_trained_model_takes_part(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "tiny", "sdxl")
    model, base = runner.run(LoadModel(model="tiny")), runner.run(LoadCheckpoint(path="tiny"))
    assert base.family == "sdxl"
    plain = load_file(saved(runner, runner.run(AsCheckpoint(), model=model)))
    weights = {"unet.conv_in.bias": torch.full((16,), 2.0), "text_encoder_1.final_layer_norm.bias": torch.ones(16)}
    file = runner.root / "w.safetensors"
    save_file(weights, file)
    change = WeightChange(name="fine-tuned", weights=file)
    trained = runner.run(AsCheckpoint(), model=type(model)(**{**vars(model), "adapters": (change,)}))
    found = load_file(saved(runner, runner.run(MergeBlockWeighted(ratio=1, preset="IN"), a=base, b=trained)))
    changed = {name for name in plain if not torch.equal(found[name], plain[name])}
    places = {name for name in plain if name.endswith("final_layer_norm.bias") and name.startswith("text_encoder_2.")}
    assert changed == {"unet.conv_in.bias", *places}
    assert len(places) == 1


def test_other_adapters_are_refused(runner: NodeRunner, tmp_path: Path) -> None:
    folder = make_model_folder(runner.root / "tiny", "sd1")
    model = runner.run(LoadModel(model="tiny"))
    adapter = random_adapter(folder, tmp_path / "l.safetensors")
    with pytest.raises(InputError, match="adapters besides"):
        runner.run(AsCheckpoint(), model=type(model)(**{**vars(model), "adapters": (adapter,)}))


def test_weights_that_lie_in_no_file_are_refused(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "tiny", "sd1")
    model = replace(runner.run(LoadModel(model="tiny")), initial_seed=5)
    with pytest.raises(InputError, match="a merge reads files"):
        runner.run(AsCheckpoint(), model=model)


def test_bad_inputs_are_named(runner: NodeRunner) -> None:
    a = add(runner, "a", 1)
    with pytest.raises(InputError, match="at least two"):
        runner.run(MergeWeighted(), models=[a])
    with pytest.raises(InputError, match="3 weights for 2"):
        runner.run(MergeWeighted(weights="1, 2, 3"), models=[a, a])
    with pytest.raises(ValueError, match="weights"):
        MergeWeighted(weights="nan, 1")
    for name, content, message in (
        ("x.ckpt", b"PK", "no safetensors file"),
        ("x.safetensors", b"\x80\x02", "not a whole"),
        ("none.safetensors", None, "there is no checkpoint"),
    ):
        if content is not None:
            (runner.root / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as refused:
            runner.run(LoadCheckpoint(path=name))
        assert refused.value.field == "path"


def test_errors_name_the_socket_that_is_wrong(runner: NodeRunner) -> None:
    a, b = add(runner, "a", 0), add(runner, "b", 1)
    save_file({"model.w": torch.zeros(6, 7)}, runner.root / "other.safetensors")
    other = runner.run(LoadCheckpoint(path="other.safetensors"))
    inner = runner.run(MergeWeighted(), models=[a, b, a])
    for node, wires, socket in (
        (MergeSlerp(), {"a": inner, "b": other}, "b"),
        (MergeAddDifference(), {"a": inner, "b": b, "c": other}, "c"),
        (MergeTies(), {"base": inner, "models": [b, other]}, "models"),
    ):
        with pytest.raises(InputError, match=r"model\.w is") as refused:
            runner.run(node, **wires)
        assert refused.value.field == socket


def test_what_is_no_number_is_told_in_plain_words() -> None:
    with pytest.raises(ValidationError, match="weights must be numbers below 1000, with commas between them"):
        MergeWeighted(weights="1, x")


@pytest.mark.parametrize(
    ("blocks", "message"),
    [("IN99=1", "no block 'IN99'"), ("M00=2", "no share"), ("M00=x", "no share"), ("0.5, 0.5", "2 numbers"), ("=1", "no block")],
)
def test_bad_blocks_are_named(runner: NodeRunner, blocks: str, message: str) -> None:
    make_model_folder(runner.root / "tiny", "sd1")
    base = runner.run(LoadCheckpoint(path="tiny"))
    with pytest.raises(InputError, match=message):
        runner.run(MergeBlockWeighted(blocks=blocks), a=base, b=base)


def test_lists_of_numbers_name_blocks_in_order(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "tiny", "sd1")
    base = runner.run(LoadCheckpoint(path="tiny"))
    numbers = [place / 30 for place in range(25)]
    merge = runner.run(MergeBlockWeighted(ratio=0.9, blocks=", ".join(map(str, numbers))), a=base, b=base)
    ratios = dict(merge.recipe.blocks)
    assert (ratios["BASE"], ratios["IN00"], ratios["OUT11"]) == (0.9, 0.0, 0.8)


def test_what_lies_behind_the_last_block_goes_with_it(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "tiny", "sd1")
    base = runner.run(LoadCheckpoint(path="tiny"))
    for node, ratio in (
        (MergeBlockWeighted(preset="OUT"), 1.0),
        (MergeBlockWeighted(ratio=0.9, blocks="OUT11=0.25"), 0.25),
        (MergeBlockWeighted(ratio=0.9, blocks="OUT00=0.25"), None),
    ):
        assert dict(runner.run(node, a=base, b=base).recipe.blocks).get("OUT") == ratio


def test_lists_of_sdxl_may_end_with_the_vae(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "tiny", "sdxl")
    base = runner.run(LoadCheckpoint(path="tiny"))
    numbers = ", ".join(str(place / 20) for place in range(21))
    ratios = dict(runner.run(MergeBlockWeighted(blocks=numbers), a=base, b=base).recipe.blocks)
    assert (ratios["BASE"], ratios["OUT08"], ratios["OUT"], ratios["VAE"]) == (0.0, 0.95, 0.95, 1.0)


def test_what_the_first_checkpoint_lacks_is_taken_from_the_second_and_said(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "tiny", "sd1")
    whole = runner.run(LoadCheckpoint(path="tiny"))
    bare = runner.run(PruneCheckpoint(vae=False), checkpoint=whole)
    merge = runner.run(MergeWeighted(), models=[bare, whole])
    (told,) = runner.messages.texts
    assert "of the VAE: they are taken as they are from the next input that has them" in told
    assert same_tensors(saved(runner, merge), saved(runner, whole))
    runner.run(MergeWeighted(), models=[whole, whole])
    assert runner.messages.texts == []


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_merge_that_fails_leaves_no_file(runner: NodeRunner) -> None:
    a = add(runner, "a", 1)
    save_file({"model.w": torch.full((6, 5), torch.nan)}, runner.root / "b.safetensors")
    merge = runner.run(MergeWeighted(), models=[a, runner.run(LoadCheckpoint(path="b.safetensors"))])
    with pytest.raises(InputError, match=r"model\.w of b"):
        saved(runner, merge)
    assert not list(runner.cache.folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_mid_block_x.lora_up.weight",
        "lora_te1_text_model_x.alpha",
        "base_model.model.mid_block.attn1.to_q.lora_A.weight",
        "unet.mid_block.attn1.to_q.lora.down.weight",
        "unet.mid_block.attn1.processor.to_q_lora.up.weight",
        "diffusion_model.middle_block.1.hada_w1_a",
        "diffusion_model.middle_block.1.lokr_w2",
    ],
)
def test_a_lora_is_no_checkpoint(runner: NodeRunner, name: str) -> None:
    save_file({name: torch.ones(2, 2)}, runner.root / "l.safetensors")
    with pytest.raises(InputError, match=r"l.safetensors is a LoRA") as caught:
        runner.run(LoadCheckpoint(path="l.safetensors"))
    assert (caught.value.field, "MergeLoRA" in caught.value.remedy) == ("path", True)
