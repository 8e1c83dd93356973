"""Checkpoints in one file: LoadModel and SaveCheckpoint, against the same models as folders."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from graph_runtime.context import RunContext
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.stable_diffusion.facts import configurations
from nodes.diffusion.families.stable_diffusion.facts.parts import UNET
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import moving_average_name
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.formats.pickles import pickled_tensors
from nodes.diffusion.formats.single_file.header import read_single_file
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel, PredictionType
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.encoding import encode_prompts
from nodes.evaluation.method_facts import saved_bytes
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.merge_weighted import MergeWeighted
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_pipeline import SavePipeline
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward
from tests.models import BUNDLED, fresh_model, handle, make_model_folder, shared_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_methods import Setting, fine_tune_with_text
from tests.nodes.test_save_pipeline import published

SGM = "conditioner.embedders.0.model."
CPU = torch.device("cpu")
FAMILIES = ["sd1", "sd2", "sdxl"]


def saved(folder: Path, file: Path, **fields: Any) -> Path:
    """A folder's model in one file."""
    model = handle(folder)
    context = RunContext(device="cpu", located={model.digest: folder})
    (artifact,) = SaveCheckpoint(**fields).run(model, context)
    artifact.file.rename(file)
    return file


def read_as_published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files without descriptions be read by a folder's, for noise and four channels, as if they were the family's own."""
    configs = {file.relative_to(folder).as_posix(): json.loads(file.read_text()) for file in folder.glob("*/*config.json")}
    configs["scheduler/scheduler_config.json"]["prediction_type"] = "epsilon"
    configs["unet/config.json"]["in_channels"] = 4
    monkeypatch.setattr(configurations, "published", lambda family: json.loads(json.dumps(configs)))


def said(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


def opened(runner: NodeRunner, name: str, **fields: Any) -> tuple[DiffusionModel, ActiveModel]:
    model = runner.run(LoadModel(model=name, **fields))
    return model, shared_model(model, runner.located[model.digest])


@pytest.mark.parametrize("family", [*FAMILIES, "bundled"])
def test_one_file_computes_what_the_folder_computes(runner: NodeRunner, tmp_path: Path, family: Any) -> None:
    folder = BUNDLED if family == "bundled" else make_model_folder(tmp_path / "folder", family)
    saved(folder, runner.root / "m.safetensors")
    model, loaded = opened(runner, "m.safetensors")
    own = fresh_model(folder)
    assert loaded.info == own.info
    assert model.prediction_type == own.info.prediction_type
    assert loaded.scheduler_config == own.scheduler_config
    for part in ("unet", "vae"):
        ours, theirs = getattr(own, part).state_dict(), getattr(loaded, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert [t("A b!").input_ids for t in loaded.tokenizers] == [t("A b!").input_ids for t in own.tokenizers]
    ours, theirs = encode_prompts(own, ["a cat", ""]), encode_prompts(loaded, ["a cat", ""])
    assert torch.equal(ours["hidden"], theirs["hidden"])
    assert (ours.get("pooled") is None and theirs.get("pooled") is None) or torch.equal(ours.get("pooled"), theirs.get("pooled"))
    if family != "bundled":
        assert torch.equal(forward(own), forward(loaded))


@pytest.mark.parametrize("family", FAMILIES)
def test_load_save_load_is_bit_identical(runner: NodeRunner, tmp_path: Path, family: Any) -> None:
    first = saved(make_model_folder(tmp_path / "folder", family), runner.root / "m.safetensors", precision="fp16")
    tensors = load_file(first) | {"alphas_cumprod": torch.rand(1000, dtype=torch.float64)}
    save_file(tensors, first, said(first))
    model, _ = opened(runner, "m.safetensors")
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    again = load_file(artifact.file)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(tensor, again[name]) and tensor.dtype == again[name].dtype for name, tensor in tensors.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_weights_stand_in_their_places(runner: NodeRunner, tmp_path: Path, family: str) -> None:
    setting = Setting(tmp_path, family)
    trained = fine_tune_with_text(setting, setting.context)
    (artifact,) = SaveCheckpoint().run(trained, setting.context)
    (runner.root / "t.safetensors").write_bytes(artifact.file.read_bytes())
    _, loaded = opened(runner, "t.safetensors")
    own = shared_model(setting.model, setting.bench.folder)
    before = forward(own)
    with apply_adapters(trained.adapters, own):
        after, text = forward(own), encode_prompts(own, ["a cat"])["hidden"]
    assert torch.equal(forward(loaded), after)
    assert torch.equal(encode_prompts(loaded, ["a cat"])["hidden"], text)
    assert not torch.equal(after, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_from_one_file_gives_the_folders_numbers(runner: NodeRunner, tmp_path: Path, family: str) -> None:
    setting = Setting(tmp_path, family)
    saved(setting.bench.folder, runner.root / "m.safetensors")
    expected = load_file(fine_tune_with_text(setting, setting.context).adapters[0].weights)  # type: ignore[union-attr]
    model, _ = opened(runner, "m.safetensors")
    setting.model = replace(model, vae_digest=setting.model.vae_digest, text_digest=setting.model.text_digest)
    setting.context = replace(setting.context, located=runner.located)
    trained = load_file(fine_tune_with_text(setting, setting.context).adapters[0].weights)  # type: ignore[union-attr]
    assert trained.keys() == expected.keys()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in expected.items())


def test_a_model_trained_from_one_file_can_be_merged(runner: NodeRunner, tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    saved(setting.bench.folder, runner.root / "m.safetensors")
    trained = fine_tune_with_text(setting, setting.context)
    model, _ = opened(runner, "m.safetensors")
    (written,) = runner.run(SaveCheckpoint(), model=replace(model, adapters=trained.adapters))
    checkpoint = runner.run(AsCheckpoint(), model=replace(model, adapters=trained.adapters))
    (merged,) = runner.run(SaveSafetensors(precision="fp32"), model=checkpoint)
    ours, theirs = load_file(written.file), load_file(merged.file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_part_of_a_fused_tensor_cannot_be_merged_from_its_own_file(runner: NodeRunner, tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd2")
    saved(setting.bench.folder, runner.root / "m.safetensors")
    trained = fine_tune_with_text(setting, setting.context)
    model, _ = opened(runner, "m.safetensors")
    with pytest.raises(InputError, match="has no tensor of its own") as caught:
        runner.run(AsCheckpoint(), model=replace(model, adapters=trained.adapters))
    assert "SaveCheckpoint" in caught.value.remedy


def test_what_it_predicts_comes_from_metadata_keys_and_the_field(runner: NodeRunner, tmp_path: Path) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd2"), runner.root / "m.safetensors")
    assert said(file)["modelspec.prediction_type"] == "v"
    model, loaded = opened(runner, "m.safetensors", prediction_type="epsilon")
    assert model.prediction_type == loaded.info.prediction_type == loaded.noise_scheduler.config["prediction_type"] == "epsilon"
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    assert said(artifact.file)["modelspec.prediction_type"] == "epsilon"


def test_a_moving_average_takes_the_place_of_the_weights(runner: NodeRunner, tmp_path: Path) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    with pytest.raises(InputError, match="no moving average"):
        opened(runner, "m.safetensors", moving_average=True)
    tensors = load_file(file)
    averages = {moving_average_name(name): tensor + 1 for name, tensor in tensors.items() if name.startswith(UNET)}
    save_file(tensors | averages, file, said(file))
    _, plain = opened(runner, "m.safetensors")
    model, average = opened(runner, "m.safetensors", moving_average=True)
    assert torch.equal(plain.unet.conv_in.weight + 1, average.unet.conv_in.weight)
    assert torch.equal(plain.vae.quant_conv.weight, average.vae.quant_conv.weight)
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    written = load_file(artifact.file)
    assert written.keys() == tensors.keys()
    assert torch.equal(written[f"{UNET}out.2.bias"], tensors[f"{UNET}out.2.bias"] + 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_numbers_are_cast_on_the_way(runner: NodeRunner, tmp_path: Path, dtype: torch.dtype) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    low = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()}
    save_file(low, file, said(file))
    _, loaded = opened(runner, "m.safetensors")
    assert loaded.unet.dtype == torch.float32
    assert torch.equal(loaded.unet.conv_in.weight, low[f"{UNET}input_blocks.0.0.weight"].float())


def test_a_pickle_of_tensors_is_read_and_one_of_code_is_not(runner: NodeRunner, lightning: type) -> None:
    file = saved(BUNDLED, runner.root / "m.safetensors")
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    torch.save({"state_dict": tensors, "global_step": 3}, runner.root / "m.ckpt")
    with pytest.raises(InputError, match=r"has the names of SD 1\.x, but 64 channels"):  # a pickle has no metadata
        opened(runner, "m.ckpt")
    for old, beside in ((True, {}), (False, {lightning: {"best": np.float64(1)}})):
        torch.save({"state_dict": tensors, "callbacks": beside}, runner.root / "m.ckpt", _use_new_zipfile_serialization=not old)
        found = pickled_tensors(runner.root / "m.ckpt")
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    torch.save({"state_dict": [torch.ones(1)]}, runner.root / "list.ckpt")
    with pytest.raises(InputError, match="no Stable Diffusion UNet"):
        opened(runner, "list.ckpt")
    torch.save({"state_dict": print}, runner.root / "code.ckpt")
    with pytest.raises(InputError, match="tensors alone"):
        opened(runner, "code.ckpt")


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that is pickled under the name of Lightning's, which SD 1.x's first files hold."""
    module = ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    made = type("ModelCheckpoint", (), {"__module__": module.__name__})
    vars(module)["ModelCheckpoint"] = made
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    return made


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_a_file_without_metadata_is_read_by_the_published_configurations(
    runner: NodeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Any, kind: str
) -> None:
    folder = make_model_folder(tmp_path / "folder", family)
    tensors = {name: tensor.clone() for name, tensor in load_file(saved(folder, tmp_path / "m.safetensors")).items()}
    if family == "sdxl":
        tensors["v_pred"] = torch.zeros(0)
    if kind == "ckpt":
        torch.save({"state_dict": tensors, "global_step": 3}, runner.root / "m.ckpt")
    else:
        save_file(tensors, runner.root / "m.safetensors")
    read_as_published(folder, monkeypatch)
    model, loaded = opened(runner, f"m.{kind}")
    assert model.family == family
    assert model.prediction_type == ("v_prediction" if family == "sdxl" else "epsilon")
    own = fresh_model(folder)
    assert torch.equal(forward(own), forward(loaded))
    assert len(loaded.tokenizers[0]) == 49408
    assert runner.messages.texts[0].startswith(facts(family).title)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_written_from_one_file_is_the_folder_it_came_from(runner: NodeRunner, tmp_path: Path, family: Any) -> None:
    folder = make_model_folder(tmp_path / "folder", family)
    saved(folder, runner.root / "m.safetensors")
    model, _ = opened(runner, "m.safetensors")
    written = published(runner.run(SavePipeline(precision="fp32"), model=model), tmp_path / "out")
    assert inspect_folder(written) == inspect_folder(folder)
    for file in folder.glob("*/*.safetensors"):
        ours, theirs = load_file(file), load_file(written / file.relative_to(folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("first_stage_model.", "holds no tensors first_stage_model"),
        ("cond_stage_model.", "holds no text encoder"),
        ("model.diffusion_model.", "holds only a VAE"),
        ("model.diffusion_model.out.2.bias", "unet lacks 1 weights"),
    ],
)
def test_what_is_missing_is_named(runner: NodeRunner, tmp_path: Path, drop: str, message: str) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    save_file({name: tensor for name, tensor in load_file(file).items() if not name.startswith(drop)}, file, said(file))
    with pytest.raises(InputError, match=message):
        assert opened(runner, "m.safetensors")[1].unet


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora_unet_x.lora_down.weight", "is a LoRA"),
        ("model.diffusion_model.joint_blocks.0.x", "Diffusion 3"),
        ("embedder.model.visual.proj", "is an unCLIP model of SD 2.x"),
        ("edm_vpred.sigma_max", "is a model of EDM's noise levels"),
    ],
)
def test_strangers_are_called_by_their_name(runner: NodeRunner, tmp_path: Path, name: str, message: str) -> None:
    save_file({name: torch.zeros(1)}, runner.root / "x.safetensors")
    with pytest.raises(InputError, match=message):
        opened(runner, "x.safetensors")


def test_a_unet_with_more_layers_is_refused(runner: NodeRunner, tmp_path: Path) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd2"), runner.root / "m.safetensors")
    save_file(load_file(file) | {f"{UNET}label_emb.0.0.weight": torch.zeros(2, 2)}, file, said(file))
    with pytest.raises(InputError, match="1 tensors more than the published"):
        assert opened(runner, "m.safetensors")[1].unet


def test_a_text_encoder_without_its_shell_is_read_and_written_as_it_is(runner: NodeRunner, tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "folder", "sd1")
    file = saved(folder, runner.root / "m.safetensors")
    tensors = {name.replace(".text_model.", "."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, said(file))
    model, loaded = opened(runner, "m.safetensors")
    own = fresh_model(folder)
    assert torch.equal(encode_prompts(own, ["a cat"])["hidden"], encode_prompts(loaded, ["a cat"])["hidden"])
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    assert load_file(artifact.file).keys() == tensors.keys()


def test_a_depth_model_is_refused_by_its_own_name(runner: NodeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model_folder(tmp_path / "folder", "sd1")
    read_as_published(folder, monkeypatch)
    first = f"{UNET}input_blocks.0.0.weight"
    tensors = load_file(saved(folder, runner.root / "m.safetensors")) | {first: torch.zeros(16, 5, 3, 3)}
    save_file(tensors, runner.root / "m.safetensors")
    with pytest.raises(InputError, match=r"m.safetensors is a depth-to-image model: its UNet takes 5 channels") as caught:
        opened(runner, "m.safetensors")
    assert "9 (inpainting)" in caught.value.remedy


def test_a_file_cut_off_is_refused(runner: NodeRunner, tmp_path: Path) -> None:
    file = saved(BUNDLED, runner.root / "m.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged or cut off"):
        opened(runner, "m.safetensors")


@pytest.mark.parametrize(
    "texts",
    [
        {"../../out.txt": "x"},
        {"unet/../../x": "x"},
        {"": "x"},
        {"unet": "x"},
        {"unet/config.json/y": "x"},
        {"unet/config.json": 1},
    ],
    ids=str,
)
def test_a_description_stays_inside_its_folder(runner: NodeRunner, tmp_path: Path, texts: Any) -> None:
    file = saved(BUNDLED, runner.root / "m.safetensors")
    save_file(load_file(file), file, said(file) | {"latentloom.descriptions": json.dumps(texts)})
    with pytest.raises(InputError, match="damaged description"):
        opened(runner, "m.safetensors")


def test_training_the_vae_keeps_the_moving_average_of_the_unet(runner: NodeRunner, tmp_path: Path) -> None:
    tensors = load_file(saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors"))
    averages = {moving_average_name(name): tensor + 1 for name, tensor in tensors.items() if name.startswith(UNET)}
    save_file({**tensors, **averages}, runner.root / "m.safetensors", said(runner.root / "m.safetensors"))
    model = runner.run(LoadModel(model="m.safetensors"))
    for name, kept in (("vae.decoder.conv_out.bias", True), ("unet.conv_out.bias", False)):
        trained = runner.root / f"{name}.safetensors"
        save_file({name: torch.ones(3 if kept else 4)}, trained)
        change = WeightChange(name="trained", unet=not kept, vae=kept, weights=trained)
        (artifact,) = runner.run(SaveCheckpoint(), model=replace(model, adapters=(change,)))
        assert (load_file(artifact.file).keys() >= averages.keys()) == kept


def test_a_merge_of_our_own_files_opens(runner: NodeRunner) -> None:
    saved(BUNDLED, runner.root / "m.safetensors")
    one = runner.run(LoadCheckpoint(path="m.safetensors"))
    (artifact,) = runner.run(SaveSafetensors(precision="fp16"), model=runner.run(MergeWeighted(), models=[one, one]))
    artifact.file.rename(runner.root / "merged.safetensors")
    model = runner.run(LoadModel(model="merged.safetensors"))
    assert (model.prediction_type, model.resolution) == ("v_prediction", 128)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_zero_terminal_snr_of_a_folder_reaches_its_file(runner: NodeRunner, tmp_path: Path, predicts: PredictionType) -> None:
    folder = make_model_folder(runner.root / "folder", "sd1")
    place = folder / "scheduler" / "scheduler_config.json"
    scheduler = json.loads(place.read_text()) | {"rescale_betas_zero_snr": True, "prediction_type": predicts}
    place.write_text(json.dumps(scheduler))
    model = runner.run(LoadModel(model="folder"))
    assert model.zero_terminal_snr
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    tensors = load_file(artifact.file)
    assert "ztsnr" in tensors
    save_file(tensors, tmp_path / "without_metadata.safetensors")
    assert facts("sd1").prediction_of(read_single_file(tmp_path / "without_metadata.safetensors"))[0] == predicts


@pytest.mark.parametrize(
    ("marks", "said", "predicts"),
    [
        ({}, {"modelspec.predict_key": "v"}, "v_prediction"),
        ({}, {"modelspec.predict_key": "epsilon"}, "epsilon"),
        ({"v_pred"}, {"modelspec.prediction_type": "epsilon"}, "v_prediction"),
        ({"ztsnr"}, {}, "epsilon"),
    ],
)
def test_what_a_file_predicts_is_told_by_what_programs_write(
    tmp_path: Path, marks: set[str], said: dict[str, str], predicts: str
) -> None:
    save_file({f"{UNET}x": torch.ones(1)} | dict.fromkeys(marks, torch.zeros(0)), tmp_path / "m.safetensors", said or None)
    assert facts("sdxl").prediction_of(read_single_file(tmp_path / "m.safetensors"))[0] == predicts


def test_a_yaml_beside_a_file_says_what_it_predicts(runner: NodeRunner, tmp_path: Path) -> None:
    saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    plain = opened(runner, "m.safetensors")[0].prediction_type
    told = {"eps": "epsilon", "v": "v_prediction"}
    for short, predicts in told.items():
        (runner.root / "m.yaml").write_text(f'model:\n  params:\n    parameterization: "{short}"\n')
        assert opened(runner, "m.safetensors")[0].prediction_type == predicts
        assert "the .yaml file beside it says so" in runner.messages.texts[-1]
    (runner.root / "m.yaml").write_text("model:\n  params:\n    linear_start: 0.00085\n")
    assert opened(runner, "m.safetensors")[0].prediction_type == plain


def test_sd2_s_text_encoder_may_lie_where_sdxl_s_first_one_does(runner: NodeRunner, tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "folder", "sd2")
    file = saved(folder, runner.root / "m.safetensors")
    moved = {name.replace("cond_stage_model.model.", SGM): tensor for name, tensor in load_file(file).items()}
    save_file(moved, file, said(file))
    model, loaded = opened(runner, "m.safetensors")
    assert model.family == "sd2"
    assert torch.equal(forward(fresh_model(folder)), forward(loaded))
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    assert load_file(artifact.file).keys() == moved.keys()
    moved[f"{SGM}ln_final.weight"] = torch.ones(1280)
    save_file(moved, file, said(file))
    with pytest.raises(InputError, match="the refiner of SDXL"):
        opened(runner, "m.safetensors")


def test_a_file_that_is_written_over_is_read_again(runner: NodeRunner, tmp_path: Path) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    model, before = opened(runner, "m.safetensors")
    first = before.unet.conv_in.weight.clone()
    saved(make_model_folder(tmp_path / "other", "sd1", seed=1), file)
    assert not torch.equal(shared_model(model, file).unet.conv_in.weight, first)


@pytest.mark.parametrize("name", ["time_embedding.cond_proj.weight", "add_embedding.image_proj.weight"])
def test_a_folder_s_tensor_that_no_single_file_has_is_named(runner: NodeRunner, tmp_path: Path, name: str) -> None:
    folder = make_model_folder(runner.root / "folder", "sd1")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(file), name: torch.ones(2, 2)}, file, {"format": "pt"})
    with pytest.raises(InputError, match=f"unet.{name} has no place") as caught:
        runner.run(SaveCheckpoint(), model=runner.run(LoadModel(model="folder")))
    assert "SavePipeline" in caught.value.remedy


def test_files_with_the_same_vae_share_its_digest(runner: NodeRunner, tmp_path: Path) -> None:
    file = saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    tensors, facts = load_file(file), said(file)
    first = opened(runner, "m.safetensors")[0]
    for name, changed in {"unet": f"{UNET}input_blocks.0.0.weight", "vae": "first_stage_model.decoder.conv_in.weight"}.items():
        save_file(tensors | {changed: tensors[changed] + 1}, runner.root / f"{name}.safetensors", facts)
    assert opened(runner, "unet.safetensors")[0].vae_digest == first.vae_digest
    assert opened(runner, "vae.safetensors")[0].vae_digest != first.vae_digest
    assert opened(runner, "unet.safetensors")[0].digest != first.digest


def test_a_fine_tune_of_one_file_is_as_large_as_that_of_its_folder(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model", "sd1")
    file = saved(folder, tmp_path / "model.safetensors")
    change = WeightChange(name="fine-tuned", weights=tmp_path / "unread")
    assert saved_bytes(change, file) == pytest.approx(saved_bytes(change, folder), rel=0.01)
