"""The encoders keep each item once, under all that it depends on."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graph_runtime.cache import digest_file
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.data.encode_captions import EncodeCaptions
from nodes.data.encode_latents import EncodeLatents
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import text_identity
from nodes.models.load_model import LoadModel
from tests.models import make_model_folder, random_adapter
from tests.nodes.node_runner import NODES, NodeRunner, captions, images


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_encoding_keeps_distributions_and_embeddings_per_item(runner: NodeRunner, family: Any) -> None:
    make_model_folder(runner.root / "m", family)
    for name in ("a", "b", "c"):
        runner.picture(f"p/{name}.png", text=f"thing {name}")
    model, loaded = runner.run(LoadModel(model="m")), images(runner, resolution=32, flip=True)
    assert (model.family, model.prediction_type) == (family, "v_prediction" if family == "sd2" else "epsilon")
    latents = runner.run(EncodeLatents(batch_size=2), model=model, images=loaded)
    assert runner.messages.totals == [6, 6, 6]
    tensors = load_file(latents.items[0].views[0].file)
    assert tensors["mean"].shape == tensors["std"].shape == (4, 16, 16)
    texts = runner.run(EncodeCaptions(), model=model, captions=captions(runner, loaded, caption_dropout=0.1))
    assert texts.caption_dropout == 0.1
    found = load_file(texts.items[0].files[0])
    assert found["hidden"].shape == (77, 32)
    assert ("pooled" in found) == (family == "sdxl")
    again = runner.run(EncodeLatents(batch_size=3), model=model, images=loaded)
    assert runner.messages.totals == []
    assert again == latents


def test_latents_depend_on_view_background_and_vae(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "one", "sd1", seed=1)
    make_model_folder(runner.root / "two", "sd1", seed=2)
    runner.picture("p/a.png")
    runs = [
        (runner.run(LoadModel(model=name)), images(runner, background=color, flip=flip))
        for name, color, flip in (
            ("one", "#ffffff", False),
            ("two", "#ffffff", False),
            ("one", "#000000", False),
            ("one", "#ffffff", True),
        )
    ]
    counts = []
    for model, loaded in runs:
        runner.run(EncodeLatents(), model=model, images=loaded)
        counts.append(runner.messages.totals)
    assert counts == [[1], [1], [1], [1]]
    runner.run(EncodeLatents(precision="bf16"), model=runs[0][0], images=runs[0][1])
    assert runner.messages.totals == [1]


def test_latents_that_are_not_finite_name_the_picture(runner: NodeRunner, monkeypatch) -> None:
    make_model_folder(runner.root / "m", "sd1")
    runner.picture("p/odd.png")
    from diffusers import AutoencoderKL

    original = AutoencoderKL.encode

    def encode(self: Any, pixels: torch.Tensor) -> Any:
        return original(self, pixels * float("inf"))

    monkeypatch.setattr(AutoencoderKL, "encode", encode)
    with pytest.raises(InputError, match=r"odd\.png are not finite"):
        runner.run(EncodeLatents(), model=runner.run(LoadModel(model="m")), images=images(runner))
    assert not list((runner.cache.folder / "files").glob("*/*"))


def test_embeddings_depend_on_encoder_clip_skip_and_adapters(runner: NodeRunner, tmp_path: Path) -> None:
    folder = make_model_folder(runner.root / "m", "sd1")
    model = runner.run(LoadModel(model="m"))
    skipping = runner.run(LoadModel(model="m", clip_skip=1))
    adapted = type(model)(**{**vars(model), "adapters": (random_adapter(folder, tmp_path / "a"),)})
    identities = {text_identity(m) for m in (model, skipping, adapted)}
    assert len(identities) == 3
    runner.picture("p/a.png", text="x")
    made = captions(runner, images(runner))
    files = [runner.run(EncodeCaptions(), model=m, captions=made).items[0].files[0] for m in (model, skipping, adapted)]
    assert len(set(files)) == 3


def test_a_text_encoder_about_to_be_trained_is_not_cached(runner: NodeRunner) -> None:
    from nodes.adapters.inject_lora import InjectLoRA

    make_model_folder(runner.root / "m", "sd1")
    model = runner.run(LoadModel(model="m"))
    injected = runner.run(InjectLoRA(text_encoder=True), model=model)
    runner.picture("p/a.png", text="x")
    with pytest.raises(InputError, match="stale") as caught:
        runner.run(EncodeCaptions(), model=injected, captions=captions(runner, images(runner)))
    assert caught.value.field == "model"


def test_weighted_captions_are_other_embeddings_and_earlier_ones_are_found(runner: NodeRunner, monkeypatch) -> None:
    make_model_folder(runner.root / "m", "sd1")
    model = runner.run(LoadModel(model="m"))
    runner.picture("p/a.png", text="(a:1.5) b")
    loaded = images(runner)
    made = [captions(runner, loaded, weighted_captions=weighted) for weighted in (False, True)]
    files = [runner.run(EncodeCaptions(), model=model, captions=each).items[0].files[0] for each in made]
    assert files[0] != files[1]
    facts = json.dumps([EncodeCaptions.version, text_identity(model), "(a:1.5) b"])
    earlier = {"file": files[1], "cut": 0}
    runner.cache.keep_item("caption:" + hashlib.sha256(facts.encode()).hexdigest(), earlier)
    monkeypatch.setattr("nodes.data.encode_captions._key", lambda *facts: f"nothing kept {facts}")
    assert runner.run(EncodeCaptions(), model=model, captions=made[0]).items[0].files[0] == files[1]
    assert runner.run(EncodeCaptions(), model=model, captions=made[1]).items[0].files[0] == files[1], "encoded anew"


def test_captions_that_are_too_long_are_reported(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "m", "sd1")
    runner.picture("p/a.png", text="x" * 200)
    runner.run(EncodeCaptions(), model=runner.run(LoadModel(model="m")), captions=captions(runner, images(runner)))
    assert runner.messages.texts
    assert "1 captions are too long" in runner.messages.texts[0]


def test_the_crop_of_a_mirrored_view_is_counted_from_the_other_side(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "m", "sdxl")
    runner.picture("p/wide.png", (96, 32))
    loaded = images(runner, resolution=32, random_crops=1, flip=True)
    latents = runner.run(EncodeLatents(), model=runner.run(LoadModel(model="m")), images=loaded)
    plain, mirrored = latents.items[0].views
    assert plain.crop[0] == loaded.pictures[0].views[0].crop[0]
    assert plain.crop[0] + mirrored.crop[0] == 96 - 32


def test_links_inside_a_model_folder_stay_in_the_workspace(runner: NodeRunner, tmp_path: Path) -> None:
    folder = make_model_folder(runner.root / "m", "sd1")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "outside.safetensors")
    weights.symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(ValueError, match="outside the workspace"):
        runner.run(LoadModel(model="m"))


def test_a_renamed_model_folder_is_another_model_by_name(runner: NodeRunner) -> None:
    make_model_folder(runner.root / "alpha", "sd1")
    files = OutsideReader(Workspace(runner.root, packages=(NODES,)), digest_file)
    before = LoadModel(model="alpha").fingerprint(files)
    (runner.root / "alpha").rename(runner.root / "beta")
    after = LoadModel(model="beta").fingerprint(files)
    assert before != after
    assert runner.run(LoadModel(model="beta")).name == "beta"
