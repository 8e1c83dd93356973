"""Full memory in plain words: how much was asked for, what is free, and which of the node's own fields save some."""

import errno

import pytest
import torch
from safetensors import SafetensorError

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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=["full", "quota", "limit"])
def test_a_file_that_cannot_be_written_further_says_why(number: int) -> None:
    said = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "quota", errno.EFBIG: "larger than it may be"}[number]
    hidden = RuntimeError("PytorchStreamWriter failed writing file data/0")
    hidden.__context__ = OSError(number, "")
    rust = SafetensorError(f"Error while serializing: I/O error: what it is called here (os error {number})")
    for error in (OSError(number, "", "here"), hidden, rust):
        problem = explained(error, step(TrainLoRA))
        assert said in problem.message
        assert "Error" not in problem.message
        assert problem.remedy.endswith("and run again: what is finished is kept.")
    assert "at here" in explained(OSError(number, "", "here"), step(TrainLoRA)).message


def test_other_errors_are_not_called_full_memory() -> None:
    for text in ("shapes do not fit", "os error 2"):
        assert explained(RuntimeError(text), step(TrainLoRA)).message == f"RuntimeError: {text}."
