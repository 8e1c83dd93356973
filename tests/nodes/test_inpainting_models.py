"""Models for inpainting and InstructPix2Pix: opened, trained by every method, drawn with, written back as they were."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from graph_runtime.context import RunContext
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.stable_diffusion.facts.parts import UNET
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.models.residency import RESIDENT
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_pipeline import SavePipeline
from nodes.sampling.sample_images import SampleImages
from tests.diffusion.test_lora import forward
from tests.models import fresh_model, make_model_folder, shared_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_methods import Method, Setting, each_method, fine_tune, trained_files, weights
from tests.nodes.test_save_pipeline import published
from tests.nodes.test_single_files import opened, read_as_published, said, saved

CPU = torch.device("cpu")
each_family = pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
each_purpose = pytest.mark.parametrize(("channels", "purpose"), [(9, "inpainting"), (8, "instruct-pix2pix")])


@each_family
@each_purpose
def test_one_file_is_opened_and_written_bit_by_bit(
    runner: NodeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Any, channels: int, purpose: Any
) -> None:
    folder = make_model_folder(tmp_path / "folder", family, in_channels=channels)
    file = saved(folder, runner.root / "m.safetensors", precision="fp16")
    tensors = load_file(file)
    assert tensors[f"{UNET}input_blocks.0.0.weight"].shape == (16, channels, 3, 3)
    save_file(tensors, file)  # without our own descriptions, as others write it
    read_as_published(folder, monkeypatch)
    model, loaded = opened(runner, "m.safetensors")
    assert any(f"{channels} input channels" in text for text in runner.messages.texts)
    assert loaded.info.purpose == purpose
    own = fresh_model(folder)
    assert torch.allclose(forward(own), forward(loaded), atol=0.02)

    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    again = load_file(artifact.file)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(tensor, again[name]) and tensor.dtype == again[name].dtype for name, tensor in tensors.items())


@each_family
@each_purpose
def test_a_folder_written_from_one_file_opens_in_the_right_pipeline(
    runner: NodeRunner, tmp_path: Path, family: Any, channels: int, purpose: Any
) -> None:
    folder = make_model_folder(tmp_path / "folder", family, in_channels=channels)
    saved(folder, runner.root / "m.safetensors")
    model, _ = opened(runner, "m.safetensors")
    written = published(runner.run(SavePipeline(precision="fp32"), model=model), tmp_path / "out")
    assert inspect_folder(written) == inspect_folder(folder)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(written, local_files_only=True)
    assert type(pipeline).__name__ == facts(family).pipelines[purpose]
    ours: dict[str, torch.Tensor] = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    theirs = pipeline.unet.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@each_purpose
@each_method
def test_every_method_trains_them(tmp_path: Path, method: Method, channels: int, purpose: str) -> None:
    setting = Setting(tmp_path, "sd1", in_channels=channels)
    before = weights(setting)
    trained = method(setting, setting.context)
    after = weights(setting)
    assert all(torch.equal(before[name], after[name]) for name in before)
    loaded = shared_model(setting.model, setting.bench.folder)
    drawn = forward(loaded)
    with apply_adapters(trained.adapters, loaded):
        if not loaded.placeholders:  # which act where captions use them
            assert not torch.equal(forward(loaded), drawn)


def test_the_hidden_picture_does_not_depend_on_what_ran_before(tmp_path: Path) -> None:
    """bf16 trains under autocast; drawing before it computes the same latents of grey without."""
    setting = Setting(tmp_path, "sd1", in_channels=9)
    first = trained_files(fine_tune(setting, setting.context, precision="bf16"))
    RESIDENT.clear()
    forward(shared_model(setting.model, setting.bench.folder))
    assert trained_files(fine_tune(setting, setting.context, precision="bf16")) == first


def test_trained_input_channels_are_written(runner: NodeRunner, tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1", in_channels=9)
    trained = fine_tune(setting, setting.context)
    (artifact,) = SaveCheckpoint().run(trained, setting.context)
    before = load_file(setting.bench.folder / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    after = load_file(artifact.file)[f"{UNET}input_blocks.0.0.weight"]
    assert after.shape == before.shape == (16, 9, 3, 3)
    assert all(not torch.equal(before[:, channel], after[:, channel]) for channel in (0, 3, 4))


@pytest.mark.parametrize(("channels", "architecture"), [(9, "stable-diffusion-v1-inpainting"), (8, "stable-diffusion-v1")])
def test_metadata_name_the_architecture(
    runner: NodeRunner, monkeypatch: pytest.MonkeyPatch, channels: int, architecture: str
) -> None:
    make_model_folder(runner.root / "m", "sd1", in_channels=channels)
    read_as_published(runner.root / "m", monkeypatch)
    (artifact,) = runner.run(SaveCheckpoint(), model=runner.run(LoadModel(model="m")))
    assert said(artifact.file)["modelspec.architecture"] == architecture


@each_purpose
def test_pictures_are_drawn_from_text(runner: NodeRunner, tmp_path: Path, channels: int, purpose: str) -> None:
    make_model_folder(runner.root / "m", "sd1", in_channels=channels)
    model = runner.run(LoadModel(model="m"))
    (text,) = runner.messages.texts
    assert f"{channels} input channels" in text
    node = SampleImages(prompts="a cat", width=16, height=24, num_inference_steps=2)
    context = RunContext(store=runner.cache, located=runner.located, device="cpu")
    (image,) = node.run([model], context).images
    with Image.open(image.file) as picture:
        assert picture.size == (16, 24)
