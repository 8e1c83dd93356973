"""A captioner of the person's own: loaded from data alone, or refused with a reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from nodes.diffusion.captioning import load_captioner
from nodes.diffusion.errors import InputError
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


@pytest.mark.parametrize("damage", [cut_weights, empty_weights, only_a_pickle, other_shapes])
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
