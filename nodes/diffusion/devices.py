"""Which device computes, in which precision, with which attention: by what was measured, not by habit."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch

from nodes.diffusion.errors import InputError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; raise InputError when the machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(
            f"this machine has {count} CUDA devices, so there is no {name}.", field="device", remedy="Run on the cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("this machine has no MPS device.", field="device", remedy="Run on the cpu.")
    return device


def training_precision(device: torch.device, wanted: Literal["auto", "fp32", "bf16", "fp16"]) -> Precision:
    """Return the autocast precision of a training.

    `auto` is bf16 where the hardware multiplies it: recent CUDA cards, and CPUs with AVX-512 BF16 or AMX, where it
    measured 1.3 to 1.5 times as fast on UNets; fp32 elsewhere, where emulated bf16 is slower.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise InputError("fp16 training needs a GPU.", field="precision", remedy="Choose bf16 or fp32.")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def resident_precision(device: torch.device, precision: Precision) -> Precision:
    """Return the precision of the frozen weights in memory: full on CPUs, where autocast casts them as fast."""
    return "fp32" if device.type == "cpu" else precision


@contextmanager
def one_thread() -> Generator[None]:
    """Let the CPU's libraries calculate in one thread: sums that are split among several are rounded differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu_has_bf16() -> bool:
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def eager_attention_pays(device: torch.device) -> bool:
    """Whether training is faster with plain matrix products than with SDPA, whose backward pass is slow on CPUs."""
    return device.type == "cpu"
