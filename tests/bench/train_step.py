"""TrainLoRA's steps beside a bare PyTorch loop: the same model, pictures, rank, batch, threads and arithmetic.

Both take turns, a step each, in one process, so that whatever else the machine does meets both alike.

    python tests/bench/train_step.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from safetensors.torch import load_file

from graph_runtime.cache import Cache
from graph_runtime.discovery import load_palette
from graph_runtime.emitter import Emitter
from graph_runtime.executor import RunEnvironment, execute
from graph_runtime.graph import Graph
from graph_runtime.overrides import apply_overrides
from graph_runtime.runs import RunFolder
from graph_runtime.session import prepare
from graph_runtime.workflow import read_workflow
from graph_runtime.workspace import Workspace
from nodes.diffusion.devices import training_precision
from nodes.methods.train_lora import TrainLoRA
from nodes.models.load_model import BUNDLED
from tests.bench.figures import record

ROOT = Path(__file__).parent.parent.parent
STEPS, WARM = 60, 10
BATCH, RANK = 8, 16
CPU = torch.device("cpu")


def bare_step(latents: Any, texts: Any) -> Callable[[], None]:
    """A loop as one would write it by hand: forward, backward, AdamW, on cached tensors in memory."""
    folder = BUNDLED["loom-emoji"]
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    unet.requires_grad_(False)
    unet.set_attn_processor(AttnProcessor())
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=1e-3)
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    means = torch.stack([load_file(item.views[0].file)["mean"] for item in latents.items])
    hidden = torch.stack([load_file(item.files[0])["hidden"] for item in texts.items])
    autocast = training_precision(CPU, "auto") == "bf16"

    def step() -> None:
        chosen = torch.randint(0, len(means), (BATCH,))
        noise, timesteps = torch.randn_like(means[chosen]), torch.randint(0, 1000, (BATCH,))
        noisy = scheduler.add_noise(means[chosen], noise, timesteps)
        target = scheduler.get_velocity(means[chosen], noise, timesteps)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            predicted = unet(noisy, timesteps, hidden[chosen], return_dict=False)[0]
        loss = ((predicted.float() - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class Turns:
    """Lets the bare loop make a step after each of ours, and notes what both took, in wall and CPU seconds."""

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.bare: Callable[[], None] | None = None
        self.ours: list[tuple[float, float]] = []
        self.theirs: list[tuple[float, float]] = []
        self._began = (0.0, 0.0)

    def listen(self, event: Any) -> None:
        self.listener(event)
        if event.type == "node_metric":
            self._note(self.ours)
            assert self.bare is not None
            self._began = _now()
            self.bare()
            self._note(self.theirs)
            self._began = _now()

    def _note(self, into: list[tuple[float, float]]) -> None:
        wall, cpu = _now()
        into.append((wall - self._began[0], cpu - self._began[1]))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def run_demo(folder: Path, turns: Turns) -> None:
    """Run the demo up to TrainLoRA, the bare loop taking turns with it."""
    palette = load_palette()
    workflow = read_workflow(ROOT / "workflows" / "lora.json")
    fields = {"train.max_steps": STEPS, "train.batch_size": BATCH, "inject.targets": "attention", "inject.rank": RANK}
    texts = [f"{name}={value}" for name, value in fields.items()]
    workflow, _ = apply_overrides(workflow, texts, palette, ROOT)
    cache = Cache(folder / "cache")
    inputs = prepare(workflow, palette, Workspace(ROOT, packages=palette.folders), cache, ["latents", "embeddings"])
    record = RunFolder(folder / "out", workflow, {})
    around = RunEnvironment(cache, Emitter(record.listen), record, "cpu", inputs.files.located, inputs.provenance)
    execute(inputs.graph, inputs.targets, around)
    turns.bare = bare_step(_value(inputs.graph, cache, "latents"), _value(inputs.graph, cache, "embeddings"))
    turns.listener = record.listen
    prepared = prepare(workflow, palette, Workspace(ROOT, packages=palette.folders), cache, ["train"])
    around = RunEnvironment(cache, Emitter(turns.listen), record, "cpu", prepared.files.located, prepared.provenance)
    finished = execute(prepared.graph, prepared.targets, around)
    assert finished.status == "succeeded"
    record.close()
    cache.close()


def _value(graph: Graph, cache: Cache, id: str) -> Any:
    step = graph.steps[id]
    return cache.get(step.key, step.type.result)


def summary(turns: Turns) -> Mapping[str, tuple[float, float]]:
    """Median milliseconds (ours, bare) by kind of clock, the first steps left out."""
    result = {}
    for name, clock in (("wall", 0), ("CPU", 1)):
        ours = statistics.median(times[clock] for times in turns.ours[WARM:])
        bare = statistics.median(times[clock] for times in turns.theirs[WARM:])
        result[name] = (1000 * ours, 1000 * bare)
    return result


def main() -> None:
    turns = Turns(None)
    with tempfile.TemporaryDirectory() as name:
        run_demo(Path(name), turns)
    assert len(turns.ours) == STEPS
    print(
        f"{TrainLoRA.__name__}: batch {BATCH}, rank {RANK}, {torch.get_num_threads()} threads, {training_precision(CPU, 'auto')}"
    )
    for clock, (ours, bare) in summary(turns).items():
        record(f"TrainLoRA, a step ({clock} time)", ours, "ms")
        record(f"TrainLoRA, of the bare loop's speed ({clock} time)", bare / ours, "x")


if __name__ == "__main__":
    main()
