"""Full memory in plain words: how much was asked for, what is free, and which of the node's own fields save some."""

import pytest
import torch

from graph_runtime.failures import explained
from graph_runtime.node import Node, describe
from graph_runtime.steps import Step
from nodes.merging.merge_weighted import MergeWeighted
from nodes.methods.train_lora import TrainLoRA


def step(cls: type[Node]) -> Step:
    return Step("n", describe(cls), {})


def test_a_cpus_full_memory_is_no_mystery() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**14)
    problem = explained(caught.value, step(TrainLoRA))
    assert problem.message == "the memory is full: 372529.03 GiB more were asked for."
    assert "lower batch_size, turn gradient_checkpointing on or choose bf16 as precision. What" in problem.remedy
    assert "batch_size" not in explained(caught.value, step(MergeWeighted)).remedy
    assert "smaller model" in explained(MemoryError(), step(MergeWeighted)).remedy


def test_a_devices_full_memory_tells_how_full_it_is() -> None:
    said = (
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.80 GiB of which 12.50 MiB is free. "
        "Process 7 has 139.70 GiB memory in use."
    )
    problem = explained(torch.OutOfMemoryError(said), step(TrainLoRA))
    assert (
        problem.message
        == "the memory of the device is full: 20.00 MiB more were asked for, and 12.50 MiB of 139.80 GiB are free."
    )


def test_other_errors_are_not_called_full_memory() -> None:
    assert "memory" not in explained(RuntimeError("shapes do not fit"), step(TrainLoRA)).message
