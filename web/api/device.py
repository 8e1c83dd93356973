"""Load of processors, memory and GPU, measured without torch."""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
from itertools import takewhile

import psutil
from aiohttp import web

from web.api.models import DeviceStatus
from web.api.services import Services

ASK = ("nvidia-smi", "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits")
SECONDS = 3.0


async def show_device(services: Services, request: web.Request) -> DeviceStatus:
    """Return the present load of the machine."""
    return await device_status(services)


async def device_status(services: Services) -> DeviceStatus:
    """Return the load of processors, memory and GPU."""
    gpus = await asyncio.to_thread(_gpus)
    memory = psutil.virtual_memory()
    return DeviceStatus(
        device=gpus[0][0] if gpus else platform.processor() or platform.machine(),
        cpu_percent=psutil.cpu_percent(),
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
        worker_memory=sum(_memory(worker.pid) for worker in services.supervisor.status() if worker.pid),
        gpu_used=sum(used for _, used, _ in gpus),
        gpu_total=sum(total for _, _, total in gpus),
    )


def _memory(pid: int) -> int:
    """Return the memory that a process and its children use, in bytes."""
    try:
        process = psutil.Process(pid)
        return sum(part.memory_info().rss for part in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


def available_devices() -> tuple[str, ...]:
    """Return the devices for runs: GPUs if there are any, else the CPU."""
    gpus = tuple(f"cuda:{number}" for number in range(_visible(len(_gpus()))))
    apple = ("mps",) if sys.platform == "darwin" and platform.machine() == "arm64" else ()
    return gpus or apple or ("cpu",)


def _visible(count: int) -> int:
    """Return how many of `count` GPUs CUDA_VISIBLE_DEVICES leaves: those before its first invalid number."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return count
    names = (name.strip() for name in named.split(","))
    return sum(1 for _ in takewhile(lambda name: name.startswith(("GPU-", "MIG-")) or name in map(str, range(count)), names))


def _gpus() -> list[tuple[str, int, int]]:
    """Return (name, bytes used, total bytes) of every NVIDIA GPU."""
    if not shutil.which(ASK[0]):
        return []
    try:
        answer = subprocess.run(ASK, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
        rows = [line.rsplit(",", 2) for line in answer.splitlines() if line.strip()]
        return [(name.strip(), int(used) * 2**20, int(total) * 2**20) for name, used, total in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
