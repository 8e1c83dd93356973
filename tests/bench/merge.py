"""How long a weighted merge of two fp16 checkpoints takes, against copying one, and how much memory it needs.

`python -m tests.bench.merge [GIGABYTES]`; the files are made in a temporary folder, and deleted.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nodes.diffusion.merging.carrying_out import write_merged
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.values import Merged, Method, Source

SHAPE = (1280, 5120)
METHODS: dict[Method, int] = {"weighted": 2, "add difference": 3, "dare": 3, "ties": 3}
"""Number of inputs by method."""


def write_random(path: Path, gigabytes: float, seed: int) -> None:
    """Write a checkpoint of equal random matrices, one after the other."""
    size = 2 * SHAPE[0] * SHAPE[1]
    count = max(1, round(gigabytes * 2**30 / size))
    facts = {f"w{n:04}": {"dtype": "F16", "shape": SHAPE, "data_offsets": [n * size, (n + 1) * size]} for n in range(count)}
    header = json.dumps(facts).encode()
    header += b" " * (-len(header) % 8)
    generator = torch.Generator().manual_seed(seed)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _ in range(count):
            file.write(torch.randn(SHAPE, generator=generator).half().numpy().tobytes())


def merge(folder: Path, method: Method) -> None:
    """Merge in this process, and print seconds without imports, and the peak of memory in MiB."""
    sources = tuple(Source(digest=name, name=name) for name in "abc"[: METHODS[method]])
    weights = (0.7, 0.3) if method == "weighted" else (0.7,)
    recipe = Merged(method=method, inputs=sources, weights=weights, density=0.5)
    start = time.perf_counter()
    plan = planned(recipe, lambda name: folder / f"{name}.safetensors")
    write_merged(plan, torch.float16, {}, folder / "out.safetensors", lambda *_: None)
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(gigabytes: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, letter in enumerate("abc"):
            write_random(folder / f"{letter}.safetensors", gigabytes, seed)
        copy = ["cp", str(folder / "a.safetensors"), str(folder / "out.safetensors")]
        base = min(timed(lambda: subprocess.run(copy, check=True)) for _ in range(3))
        print(f"{'cp':15} {base:6.2f} s")
        for method in METHODS:
            command = [sys.executable, "-m", "tests.bench.merge", name, method]
            start = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            whole = time.perf_counter() - start
            inner, peak = map(float, done.stdout.split())
            times = f"{inner:6.2f} s = {inner / base:5.1f} cp; process {whole:6.2f} s = {whole / base:5.1f} cp"
            print(f"{method:15} {times}; {peak:5.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        method = next(method for method in METHODS if method == sys.argv[2])
        merge(Path(sys.argv[1]), method)
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
