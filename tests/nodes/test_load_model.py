"""LoadModel: what it opens, what it refuses before anything runs, and what tells models apart."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.cache import digest_file
from graph_runtime.context import RunContext
from graph_runtime.workspace import OutsideReader, PathRefused, Workspace
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.text.encoding import encode_prompts
from nodes.models import load_model
from nodes.models.load_model import LoadModel
from tests.models import BUNDLED, fresh_model, make_model_folder


def opened(root: Path, **fields: object) -> DiffusionModel:
    node = LoadModel.model_validate(fields)
    files = OutsideReader(Workspace(root, packages=(BUNDLED.parent.parent,)), digest_file)
    fingerprint = node.fingerprint(files)
    return node.run(RunContext(located=files.located, fingerprint=fingerprint))


def test_the_bundled_model_by_its_name(tmp_path: Path) -> None:
    model = opened(tmp_path)
    assert (model.name, model.family, model.prediction_type, model.resolution) == ("loom-emoji", "sd1", "v_prediction", 128)
    assert model.digest
    assert model.vae_digest
    assert model.adapters == ()


@pytest.mark.parametrize(("family", "encoders"), [("sd1", 1), ("sd2", 1), ("sdxl", 2)])
def test_a_folder_of_each_family(tmp_path: Path, family, encoders: int) -> None:
    make_model_folder(tmp_path / "some" / "model", family)
    model = opened(tmp_path, model="some/model")
    assert (model.name, model.family) == ("model", family)
    assert len(model.text_digest.split("+")) == 2 * encoders


def test_the_same_content_is_the_same_model_wherever_it_lies(tmp_path: Path) -> None:
    make_model_folder(tmp_path / "a", "sd1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "preview.png").write_bytes(b"not part of a model")
    one, other = opened(tmp_path, model="a"), opened(tmp_path, model="b")
    assert one.digest == other.digest


def test_models_that_share_a_part_share_its_digest(tmp_path: Path) -> None:
    make_model_folder(tmp_path / "a", "sd1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    config = tmp_path / "b" / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layer_norm_eps": 1e-6}))
    one, other = opened(tmp_path, model="a"), opened(tmp_path, model="b")
    assert one.digest != other.digest
    assert one.vae_digest == other.vae_digest
    assert one.text_digest != other.text_digest


@pytest.mark.parametrize(("family", "most"), [("sd1", 2), ("sdxl", 1)])
def test_clip_skip_leaves_a_layer(tmp_path: Path, family, most: int) -> None:
    make_model_folder(tmp_path / "m", family)
    assert opened(tmp_path, model="m", clip_skip=most).clip_skip == most
    with pytest.raises(InputError, match="too few text-encoder layers") as caught:
        opened(tmp_path, model="m", clip_skip=most + 1)
    assert caught.value.field == "clip_skip"
    assert caught.value.remedy == f"The most is {most}."


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("model.safetensors", "download it again"), ("model.ckpt", ".safetensors file"), ("model.txt", "diffusers folder")],
)
def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path, name: str, remedy: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=name) as caught:
        opened(tmp_path, model=name)
    assert caught.value.field == "model"
    assert remedy in caught.value.remedy


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no model 'loom'") as caught:
        opened(tmp_path, model="loom")
    assert "loom-emoji" in caught.value.remedy


@pytest.mark.parametrize("model", ["", "../elsewhere", "/etc", "a\0b"])
def test_a_model_outside_the_workspace_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(PathRefused):
        opened(tmp_path, model=model)


def test_what_a_flow_predicts_is_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    info: Any = replace(inspect_folder(folder), prediction_type="flow")
    monkeypatch.setattr(load_model, "inspect_folder", lambda place: info)
    assert opened(tmp_path, model="m").prediction_type == "flow"
    with pytest.raises(InputError, match="the velocity of a rectified flow") as caught:
        opened(tmp_path, model="m", prediction_type="epsilon")
    assert caught.value.field == "prediction_type"


def test_a_folder_that_is_called_like_a_file_is_a_folder(tmp_path: Path) -> None:
    make_model_folder(tmp_path / "emoji.ckpt", "sd1")
    assert opened(tmp_path, model="emoji.ckpt").family == "sd1"


def test_an_sdxl_folder_whose_second_text_encoder_does_not_name_its_class_has_pooled_texts(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sdxl")
    path = folder / "text_encoder_2" / "config.json"
    config = json.loads(path.read_text())
    del config["architectures"]
    path.write_text(json.dumps(config))
    assert "pooled" in encode_prompts(fresh_model(folder), ["a"]).tensors
