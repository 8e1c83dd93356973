"""The demo and every method on a CUDA GPU."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nodes.diffusion.devices import choose_device, drawing_precision, free_memory
from tests.flow_models import KLEIN, Z_IMAGE, Kind
from tests.nodes.test_methods import Method, Setting, each_method
from tests.nodes.test_train_lora import StoppingReporter
from tests.shell import run_small

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_demo_runs_on_a_gpu(tmp_path: Path, precision: str) -> None:
    outcome = run_small(tmp_path, device="cuda", train__precision=precision, sample__precision=precision)
    assert outcome.status == 0
    losses = [event["values"]["loss"] for event in outcome.of("node_metric", "train")]
    assert len(losses) == 6
    assert all(0 < loss < 10 for loss in losses)
    again = run_small(tmp_path / "again", device="cuda", train__precision=precision, sample__precision=precision)
    assert [event["values"]["loss"] for event in again.of("node_metric", "train")] == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [Z_IMAGE, KLEIN], ids=lambda kind: kind.family)
def test_a_flow_model_trains_previews_and_draws_on_a_gpu(tmp_path: Path, kind: Kind, precision: str) -> None:
    folder = kind.make(tmp_path / "m")
    changes = {"train__precision": precision, "sample__precision": precision, "train__preview_every": 3}
    sizes = {"images__resolution": 32, "sample__width": 32, "sample__height": 32}
    outcome = run_small(tmp_path, device="cuda", model__model=folder, **changes, **sizes)
    assert outcome.status == 0
    assert all(0 < event["values"]["loss"] < 10 for event in outcome.of("node_metric", "train"))


def test_the_card_says_what_it_is_and_has_left() -> None:
    device = choose_device("cuda")
    assert device == choose_device(f"cuda:{device.index}")
    multiplies = torch.cuda.get_device_capability(device) >= (8, 0)
    assert drawing_precision(device, "auto") == ("bf16" if multiplies else "fp16")
    free, total = free_memory(device), torch.cuda.get_device_properties(device).total_memory
    assert free is not None
    assert 0 < free <= total


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@each_method
def test_every_method_trains_previews_and_validates_on_a_gpu(tmp_path: Path, method: Method, precision: str) -> None:
    setting, reporter = Setting(tmp_path, "sd1"), StoppingReporter()
    context = replace(setting.context, device="cuda", reporter=reporter)
    fields = {"precision": precision, "preview_every": 3, "preview_prompt": "<new>", "validation_fraction": 0.2}
    trained = method(setting, context, **fields)
    assert reporter.previews == 1
    for adapter in trained.adapters:
        assert adapter.weights is not None
        assert all(tensor.isfinite().all() for tensor in load_file(adapter.weights).values())
