"""What LoRA files say about themselves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodes.diffusion.adapters.modelspec import architecture_of, kohya_metadata, modelspec_metadata
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel

MODEL = DiffusionModel(digest="d", name="base", family="sd1", prediction_type="epsilon", resolution=512)
ADAPTER = LowRankAdapter(rank=8, alpha=4.0, unet_targets=("a",), training=(("ss_steps", "7"), ("ss_network_dim", "wrong")))


@pytest.mark.parametrize(
    ("family", "prediction", "width", "architecture", "version"),
    [
        ("sd1", "epsilon", 768, "stable-diffusion-v1", "sd_v1"),
        ("sd1", "v_prediction", 768, "stable-diffusion-v1", "sd_v1_v"),
        ("sd2", "epsilon", 1024, "stable-diffusion-v2-512", "sd_v2"),
        ("sd2", "v_prediction", 1024, "stable-diffusion-v2-768-v", "sd_v2_v"),
        ("sdxl", "epsilon", 2048, "stable-diffusion-xl-v1-base", "sdxl_base_v1-0"),
        ("sdxl", "v_prediction", 2048, "stable-diffusion-xl-v1-base", "sdxl_base_v1-0"),
        ("sd1", "epsilon", 192, "custom-sd1-320-640-1280-1280", "custom-sd1-320-640-1280-1280"),
        ("sdxl", "epsilon", 1280, "custom-sdxl-320-640-1280", "custom-sdxl-320-640-1280"),
    ],
)
def test_the_base_is_named_and_another_size_says_so(
    tmp_path: Path, family: str, prediction: str, width: int, architecture: str, version: str
) -> None:
    channels = [320, 640, 1280] if family == "sdxl" else [320, 640, 1280, 1280]
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"block_out_channels": channels, "cross_attention_dim": width}))
    model = replace(MODEL, family=family, prediction_type=prediction)
    assert architecture_of(model, tmp_path) == architecture
    assert kohya_metadata(model, ADAPTER, architecture, "f00")["ss_base_model_version"] == version
    assert modelspec_metadata(model, {}, architecture, "f00")["modelspec.architecture"] == f"{architecture}/lora"


def test_kohya_metadata_is_complete() -> None:
    found = kohya_metadata(MODEL, replace(ADAPTER, unet_strength=0.5, text_encoder_strength=0.5), "stable-diffusion-v1", "f00")
    assert found == {
        "ss_steps": "7",
        "ss_v2": "False",
        "ss_base_model_version": "sd_v1",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "2.0",
        "ss_network_args": "{}",
        "sshs_model_hash": "f00",
    }


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        ("rslora", {}),
        ("locon", {"algo": "locon"}),
        ("loha", {"algo": "loha"}),
        ("lokr", {"algo": "lokr", "factor": "8"}),
        ("dora", {"algo": "locon", "dora_wd": "True", "wd_on_output": "False"}),
    ],
)
def test_the_family_is_lycoris_and_rslora_plain(algorithm: str, arguments: dict[str, str]) -> None:
    found = kohya_metadata(MODEL, replace(ADAPTER, algorithm=algorithm, rank=4), "stable-diffusion-v1", "f00")
    given = json.loads(found["ss_network_args"])
    assert given == (arguments | {"conv_dim": "4", "conv_alpha": "4.0"} if arguments else {})
    assert found["ss_network_module"] == ("lycoris.kohya" if arguments else "networks.lora")
    assert found["ss_network_alpha"] == ("8.0" if algorithm == "rslora" else "4.0")


def test_modelspec_has_what_it_must_and_leaves_out_what_is_empty() -> None:
    given = {"title": "Line", "author": "", "license": "MIT", "date": "2026-01-31"}
    found = modelspec_metadata(MODEL, given, "stable-diffusion-v1", "f00")
    assert found == {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "Line",
        "modelspec.resolution": "512x512",
        "modelspec.prediction_type": "epsilon",
        "modelspec.hash_sha256": "0xf00",
        "modelspec.license": "MIT",
        "modelspec.date": "2026-01-31",
    }
    assert modelspec_metadata(MODEL, {"title": ""}, "x", "f00")["modelspec.title"] == "LoRA for base"


@pytest.mark.parametrize(("predicts", "word"), [("epsilon", "epsilon"), ("v_prediction", "v"), ("flow", None)])
def test_modelspec_names_what_is_predicted_where_it_has_a_word(predicts: Any, word: str | None) -> None:
    found = modelspec_metadata(replace(MODEL, prediction_type=predicts), {}, "x", "f00")
    assert found.get("modelspec.prediction_type") == word
