"""What merges of fp16 checkpoints with the shapes of SD1 cost, in CPU time, against copying one file.

`python -m tests.bench.merge [SHARE]`; files of about 2 GB each, or a share of that, are made in a temporary folder, and deleted.
"""

import json
import math
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.bench.figures import record

METHODS = {"weighted": 2, "add difference": 3, "slerp": 2, "model stock": 3, "dare": 3, "ties": 3}
"""Number of inputs by method."""
ROUNDS = 3
HASH = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"
WORKFLOW = Path(__file__).parents[2] / "workflows" / "merge_weighted.json"


class Cost(NamedTuple):
    """Of a process."""

    cpu: float
    """Seconds."""
    wall: float
    anonymous: float
    """Peak in MiB."""


def sd1_shapes() -> dict[str, list[int]]:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    widths, down, up = (128, 256, 512, 512), ["DownEncoderBlock2D"] * 4, ["UpDecoderBlock2D"] * 4
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(block_out_channels=widths, down_block_types=down, up_block_types=up, layers_per_block=2)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    parts = {"unet": unet, "vae": vae, "text_encoder": text}
    return {f"{part}.{name}": [*t.shape] for part, module in parts.items() for name, t in module.state_dict().items()}


def write_random(path: Path, shapes: dict[str, list[int]], seed: int) -> None:
    facts, end = dict[str, object](), 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        facts[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(facts).encode()
    header += b" " * (-len(header) % 8)
    generator = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for shape in shapes.values():
            file.write((generator.standard_normal(math.prod(shape), np.float32) * 0.03).astype(np.float16).tobytes())


def merge(folder: Path, method: str) -> None:
    """Merge in this process, and print CPU seconds without imports."""
    import torch

    from nodes.diffusion.handles.recipes import Merged, Source
    from nodes.diffusion.merging.plan import planned
    from nodes.diffusion.merging.write_checkpoint import write_merged

    start = time.process_time()
    if method == "naive":
        from safetensors.torch import load_file, save_file

        a, b = (load_file(folder / f"{name}.safetensors") for name in "ab")
        merged = {name: (0.7 * tensor.float() + 0.3 * b[name].float()).half() for name, tensor in a.items()}
        save_file(merged, folder / "out.safetensors")
    else:
        inputs = tuple(Source(digest=name, name=name) for name in "abc"[: METHODS[method]])
        weights = (0.7, 0.3) if method == "weighted" else (0.7,)
        recipe = Merged(method=method, inputs=inputs, weights=weights, density=0.5)  # type: ignore[arg-type]
        plan = planned(recipe, lambda name: folder / f"{name}.safetensors")
        write_merged(plan, torch.float16, {}, folder / "out.safetensors", lambda *_: None)
    print(time.process_time() - start)


def cost_of(command: list[str], folder: Path) -> tuple[Cost, str]:
    """Run a command that writes a new file, and watch it."""
    (folder / "out.safetensors").unlink(missing_ok=True)
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            except OSError:
                found = None
            peak = max(peak, int(found[1]) if found else 0)
            time.sleep(0.02)
        wall = time.perf_counter() - start
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{command} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, wall, peak / 1024), output


def run_workflow(folder: Path, number: int) -> Cost:
    """Cost of `latentloom run` for a ratio that it has not merged before."""
    settings = [f"--set={field}" for field in ("a.path=a.safetensors", "b.path=b.safetensors", f"merge.ratio=0.3{number}")]
    places = [f"--output={folder / 'output'}", f"--cache={folder / 'cache'}", f"--workspace={folder}"]
    return cost_of([sys.executable, "-m", "graph_runtime", "run", str(WORKFLOW), *settings, *places], folder)[0]


def main(share: float) -> None:
    shapes = sd1_shapes()
    shapes = dict(list(shapes.items())[: max(1, round(share * len(shapes)))])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, letter in enumerate("abc"):
            write_random(folder / f"{letter}.safetensors", shapes, seed)
        size = (folder / "a.safetensors").stat().st_size
        print(f"{size / 1e9:.2f} GB each; x cp: CPU time as a multiple of that of cp, the least of {ROUNDS}")
        first = run_workflow(folder, 0)
        copies = [
            cost_of(["cp", str(folder / "a.safetensors"), str(folder / "out.safetensors")], folder)[0] for _ in range(ROUNDS)
        ]
        base = min(copies).cpu
        show("cp", min(copies), base)
        hashed = [cost_of([sys.executable, "-c", HASH, str(folder / "a.safetensors")], folder)[0] for _ in range(ROUNDS)]
        show("sha256 (part of ours)", min(hashed), base)
        for method in ("naive", *METHODS):
            command = [sys.executable, "-m", "tests.bench.merge", name, method]
            cost, output = min(cost_of(command, folder) for _ in range(ROUNDS))
            show(method, cost, base, float(output))
        show("run, new inputs", first, base)
        show("run, known inputs", min(run_workflow(folder, number) for number in range(1, ROUNDS + 1)), base)


def show(name: str, cost: Cost, base: float, alone: float | None = None) -> None:
    record(f"merge, {name}", cost.cpu, "s of CPU")
    record(f"merge, {name}: beside cp", cost.cpu / base, "x")
    if alone is not None:
        record(f"merge, {name}: the merge alone beside cp", alone / base, "x")
    record(f"merge, {name}: wall", cost.wall, "s")
    record(f"merge, {name}: anonymous memory", cost.anonymous, "MiB")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        merge(Path(sys.argv[1]), sys.argv[2])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
