"""A captioner of the person's own: loaded from data alone, or refused with a reason."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.config_bounds import MAX_CONFIG_BYTES
from nodes.diffusion.pictures.image_to_text import load_captioner
from tests.nodes.test_caption_dataset import make_captioner

CPU = torch.device("cpu")


@pytest.fixture
def captioner(tmp_path: Path) -> Path:
    make_captioner(tmp_path / "blip")
    return tmp_path / "blip"


def test_the_same_picture_is_called_the_same(captioner: Path) -> None:
    picture = Image.effect_noise((50, 30), 90).convert("RGB")
    first, second = load_captioner(captioner, CPU)(picture), load_captioner(captioner, CPU)(picture)
    assert first == second != ""


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def other_shapes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))


def no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def part_no_object(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"text_config": 3, "vision_config": [4]}))


def endless_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def long_config(folder: Path) -> None:
    (folder / "config.json").write_text(" " * MAX_CONFIG_BYTES + (folder / "config.json").read_text())


DAMAGES = (cut_weights, empty_weights, only_a_pickle, other_shapes, no_object, part_no_object, endless_config, long_config)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_captioner_that_cannot_be_loaded_is_refused(captioner: Path, damage: Callable[[Path], None]) -> None:
    damage(captioner)
    with pytest.raises(InputError) as caught:
        load_captioner(captioner, CPU)
    assert caught.value.field == "captioner"


def test_code_in_the_folder_is_never_run(captioner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = captioner / "witness"
    code = "from transformers import BlipConfig as Config, BlipForConditionalGeneration as Model\n"
    (captioner / "own.py").write_text(f"open({str(witness)!r}, 'w').close()\n{code}")
    config = json.loads((captioner / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForImageTextToText": "own.Model"}}
    (captioner / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(InputError):
        load_captioner(captioner, CPU)
    assert not witness.exists()
