"""A finished fine-tune is trained further: as a wire, as the folder and as the single file that were saved of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel, text_identity
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_pipeline import SavePipeline
from tests.models import shared_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_methods import Setting, dreambooth, fine_tune

CPU = torch.device("cpu")


def wired(runner: NodeRunner, trained: DiffusionModel) -> DiffusionModel:
    return trained


def saved_as_folder(runner: NodeRunner, trained: DiffusionModel) -> DiffusionModel:
    (artifact,) = runner.run(SavePipeline(precision="fp32"), model=trained)
    for name, file in artifact.folder:
        (runner.root / "saved" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, runner.root / "saved" / name)
    return runner.run(LoadModel(model="saved"))


def saved_as_file(runner: NodeRunner, trained: DiffusionModel) -> DiffusionModel:
    (artifact,) = runner.run(SaveCheckpoint(precision="fp32"), model=trained)
    shutil.copy(artifact.file, runner.root / "saved.safetensors")
    return runner.run(LoadModel(model="saved.safetensors"))


@pytest.mark.parametrize(
    ("method", "way"),
    [(fine_tune, wired), (fine_tune, saved_as_folder), (fine_tune, saved_as_file), (dreambooth, saved_as_folder)],
)
def test_a_finished_fine_tune_goes_on_from_its_weights(
    runner: NodeRunner, tmp_path: Path, method: Callable[..., Any], way: Callable[..., DiffusionModel]
) -> None:
    setting = Setting(tmp_path, "sd1")
    runner.located = {setting.model.digest: setting.bench.folder}
    first = method(setting, setting.context, max_steps=1)
    model = way(runner, first)
    embeddings = replace(setting.embeddings, text_digest=text_identity(model))
    setting.latents = replace(setting.latents, vae_digest=model.vae_digest)
    setting.model, setting.embeddings = model, embeddings
    setting.prior = {"class_latents": setting.latents, "class_embeddings": embeddings}
    context = replace(setting.context, located=runner.located)
    second = method(setting, context, max_steps=1)
    assert len(second.adapters) == len(model.adapters) + 1
    (begun,) = [load_file(adapter.weights) for adapter in first.adapters if adapter.weights]
    ended = load_file(second.adapters[-1].weights)
    loaded = shared_model(model, context.locate(model.digest))
    with apply_adapters([*model.adapters, WeightChange(name="untrained")], loaded) as applied:
        assert applied[-1].keys() == begun.keys() == ended.keys()
        assert all(torch.equal(applied[-1][name], tensor) for name, tensor in begun.items()), "it begins where the first ended"
    assert not any(torch.equal(ended[name], tensor) for name, tensor in begun.items())
    (final,) = runner.run(SaveCheckpoint(precision="fp32"), model=second)
    written = load_file(final.file)
    assert torch.equal(written["model.diffusion_model.out.2.bias"], ended["unet.conv_out.bias"]), "the last training is saved"
