"""The demo on a CUDA GPU."""

from pathlib import Path

import pytest
import torch

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
