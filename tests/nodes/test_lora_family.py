"""InjectLoRA's algorithms as a person uses them: trained, stopped and resumed, saved, and loaded again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graph_runtime.context import RunContext
from graph_runtime.errors import Interrupted
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.methods.train_lora import TrainLoRA
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import FAMILIES, forward, identities
from tests.diffusion.test_lora_deltas import ALGORITHMS, each_algorithm
from tests.models import fresh_model, shared_model
from tests.nodes.test_train_lora import Setting, StoppingReporter

CPU = torch.device("cpu")
QUICK = {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-2}


def train(setting: Setting, algorithm: Any, context: RunContext | None = None, **fields: Any) -> Any:
    injected = setting.inject(algorithm=algorithm, rank=2, text_encoder=True, targets="attention and feed-forward")
    node = TrainLoRA(**QUICK | fields)
    return node.run(injected, setting.latents, context or setting.context, captions=setting.bench.captions)


def lora_of(model: Any) -> LowRankAdapter:
    (adapter,) = model.adapters
    assert isinstance(adapter, LowRankAdapter)
    assert adapter.weights is not None
    return adapter


@pytest.mark.parametrize("family", FAMILIES)
@each_algorithm
def test_every_tensor_learns_and_the_model_stays(tmp_path: Path, algorithm: str, family: str) -> None:
    setting = Setting(tmp_path, family)
    loaded = shared_model(setting.model, setting.bench.folder)
    before, base = identities(loaded), forward(loaded)
    weights = {name: tensor.clone() for name, tensor in loaded.unet.state_dict().items()}
    adapter = lora_of(train(setting, algorithm, gradient_accumulation_steps=2, gradient_checkpointing=True))
    assert shared_model(setting.model, setting.bench.folder).unet is loaded.unet
    assert identities(loaded) == before
    assert torch.equal(forward(loaded), base)
    assert all(torch.equal(weights[name], tensor) for name, tensor in loaded.unet.state_dict().items())
    ended = load_file(adapter.weights)  # pyright: ignore[reportArgumentType]
    with apply_adapters([replace(adapter, weights=None)], loaded) as (begun,):
        assert begun.keys() == ended.keys()
        assert not [name for name in ended if torch.equal(ended[name], begun[name])]
    with apply_adapters([adapter], loaded):
        assert not torch.allclose(forward(loaded), base, atol=1e-3)


@each_algorithm
def test_a_stopped_training_ends_with_the_same_bytes(tmp_path: Path, algorithm: str) -> None:
    setting = Setting(tmp_path, "sd1")
    whole = lora_of(train(setting, algorithm))
    (tmp_path / "progress").mkdir()
    context = replace(setting.context, reporter=StoppingReporter(2), progress_folder=tmp_path / "progress")
    with pytest.raises(Interrupted):
        train(setting, algorithm, context)
    resumed = lora_of(train(setting, algorithm, replace(context, reporter=StoppingReporter())))
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()  # pyright: ignore[reportOptionalMemberAccess]


@each_algorithm
def test_half_precision_trains_and_acts(tmp_path: Path, algorithm: str) -> None:
    setting = Setting(tmp_path, "sd1")
    adapter = lora_of(train(setting, algorithm, precision="bf16"))
    half = fresh_model(setting.bench.folder, "bf16")
    sample, text = torch.randn(1, 4, 8, 8).bfloat16(), torch.randn(1, 7, 32).bfloat16()
    with torch.no_grad(), apply_adapters([adapter], half):
        drawn = half.unet(sample, torch.tensor([5]), text).sample
    assert drawn.dtype == torch.bfloat16
    assert drawn.isfinite().all()


def test_one_adapter_is_trained_on_top_of_another_kind(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    first = replace(setting.train(setting.inject(algorithm="loha")))
    second = setting.train(InjectLoRA(algorithm="dora", rank=1).run(first, setting.context))
    assert second.adapters[0] == first.adapters[0]
    assert [adapter.label for adapter in second.adapters] == ["LoHa", "DoRA"]


def test_locon_reaches_the_3x3_convolutions_and_lora_does_not(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    found = {name: setting.inject(algorithm=name).adapters[0].unet_targets for name in ALGORITHMS}
    convolutions = set(found["locon"]) - set(found["lora"])
    assert "down_blocks.0.resnets.0.conv1" in convolutions
    assert "down_blocks.0.downsamplers.0.conv" in convolutions
    assert "up_blocks.0.upsamplers.0.conv" in convolutions
    assert len({targets for name, targets in found.items() if name != "locon"}) == 1


@pytest.mark.parametrize("algorithm", ["loha", "lokr", "dora"])
def test_diffusers_layout_is_refused_for_what_diffusers_cannot_read(tmp_path: Path, algorithm: str) -> None:
    setting = Setting(tmp_path, "sd1")
    trained = train(setting, algorithm, max_steps=1)
    with pytest.raises(InputError) as caught:
        SaveSafetensors(layout="diffusers").run(trained, setting.context)
    assert caught.value.field == "layout"
    assert "kohya" in caught.value.remedy
