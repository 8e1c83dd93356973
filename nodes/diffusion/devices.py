"""Choice of device, precision and attention, based on measurements."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch

from nodes.diffusion.errors import InputError

Precision = Literal["fp32", "bf16", "fp16"]
WantedPrecision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISION_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; raise InputError when the machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    check_device(name)
    device = torch.device(name)
    if device.type == "cpu":
        return torch.device("cpu")
    return device if ":" in name else torch.device(device.type, _current_index(device.type))


def check_device(name: str) -> None:
    """Raise InputError when the machine lacks the device `cuda`, `cuda:N` or `mps`; nothing is begun on it."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        devices = f"{count or 'no'} CUDA {'device' if count < 2 else 'devices'}"
        so = f", so there is no {name}" if count else ""
        raise InputError(f"this machine has {devices}{so}.", field="device", remedy="Run on the cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("this machine has no MPS device.", field="device", remedy="Run on the cpu.")


def _current_index(kind: str) -> int:
    """Return the device number of a bare name, so that `cuda` and `cuda:0` are one key of models in memory."""
    return torch.cuda.current_device() if kind == "cuda" else 0


def training_precision(device: torch.device, wanted: WantedPrecision) -> Precision:
    """Return the autocast precision of a training.

    `auto` is bf16 where the hardware multiplies it: recent CUDA cards, and CPUs with AVX-512 BF16 or AMX, where it
    measured 1.3 to 1.5 times as fast on UNets; fp32 elsewhere, where emulated bf16 is slower.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise InputError("fp16 training needs a GPU.", field="precision", remedy="Choose bf16 or fp32.")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if _gpu_has_bf16(device) else "fp16"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def drawing_precision(device: torch.device, wanted: WantedPrecision) -> Precision:
    """Return the precision of a model that draws; `auto` is half precision on CUDA cards and fp32 elsewhere."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if _gpu_has_bf16(device) else "fp16"
    return "fp32"


def encoding_precision(device: torch.device, wanted: WantedPrecision) -> Precision:
    """Return the precision of a VAE that encodes; `auto` is never fp16, in which SDXL's overflows."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and _gpu_has_bf16(device) else "fp32"


def resident_precision(device: torch.device, precision: Precision) -> Precision:
    """Return the precision of the frozen weights in memory: full on CPUs, where autocast casts them as fast."""
    return "fp32" if device.type == "cpu" else precision


@contextmanager
def one_thread() -> Generator[None]:
    """Use one thread on the CPU: sums that are split among several threads are rounded differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a CUDA card, including torch's unused ones; None if they are not known."""
    if device.type != "cuda":
        return None
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def _gpu_has_bf16(device: torch.device) -> bool:
    """Return whether the card multiplies bf16 in hardware; `is_bf16_supported` is also true for emulation."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _cpu_has_bf16() -> bool:
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def eager_attention_pays(device: torch.device) -> bool:
    """Return whether training is faster with plain matrix products than with SDPA, whose backward pass is slow on CPUs."""
    return device.type == "cpu"
