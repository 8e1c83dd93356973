"""OptimizeNullText's inner steps beside a bare PyTorch loop: the same model, way to noise, threads and arithmetic.

Both take turns, a timestep of ten inner steps each, in one process, so that whatever else the machine does meets both alike.

    python tests/bench/null_text.py
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from nodes.diffusion.sampling.ddim import ddim_schedule, invert
from nodes.diffusion.sampling.null_text import NullTextTask, first_null_text, optimize_null_text
from nodes.diffusion.text.encoding import encode_prompts
from nodes.models.load_model import BUNDLED
from tests.bench.figures import record
from tests.models import fresh_model

STEPS, INNER, WARM = 30, 10, 3
GUIDANCE = 7.5
CPU = torch.device("cpu")


def our_task() -> NullTextTask:
    model = fresh_model(BUNDLED["loom-emoji"])
    schedule = ddim_schedule(model, STEPS)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    with torch.no_grad():
        text, first = encode_prompts(model, ["flat style automobile"]), first_null_text(model)
    path = invert(model, latents, text, schedule)
    return NullTextTask(model, schedule, path, text, first, guidance_scale=GUIDANCE, inner_steps=INNER, early_stop=0)


def bare_timesteps(task: NullTextTask) -> Iterator[None]:
    """The loop as one would write it by hand, a timestep at a time."""
    folder = BUNDLED["loom-emoji"]
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    unet.requires_grad_(False)
    unet.set_attn_processor(AttnProcessor())
    scheduler: Any = DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(STEPS)
    latents, hidden, text = task.path[-1:], task.unconditional["hidden"], task.text["hidden"]
    for number, timestep in enumerate(scheduler.timesteps):
        hidden = hidden.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([hidden], lr=1e-2 * (1 - number / 100))
        with torch.no_grad():
            given = unet(latents, timestep, text).sample
        for _ in range(INNER):
            without = unet(latents, timestep, hidden).sample
            there = scheduler.step(without + GUIDANCE * (given - without), timestep, latents).prev_sample
            loss = (there - task.path[-2 - number]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        with torch.no_grad():
            without = unet(latents, timestep, hidden).sample
            latents = scheduler.step(without + GUIDANCE * (given - without), timestep, latents).prev_sample
        yield


class Turns:
    """Lets the bare loop make a timestep after each of ours, and notes what both took, in wall and CPU seconds."""

    def __init__(self, bare: Iterator[None]) -> None:
        self.bare = bare
        self.ours: list[tuple[float, float]] = []
        self.theirs: list[tuple[float, float]] = []
        self._began = _now()

    def after_ours(self, step: int, loss: float) -> None:
        self._note(self.ours)
        next(self.bare)
        self._note(self.theirs)

    def _note(self, into: list[tuple[float, float]]) -> None:
        wall, cpu = _now()
        into.append((wall - self._began[0], cpu - self._began[1]))
        self._began = _now()


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def main() -> None:
    task = our_task()
    turns = Turns(bare_timesteps(task))
    optimize_null_text(task, report=turns.after_ours)
    print(f"OptimizeNullText: {INNER} inner steps, {torch.get_num_threads()} threads, fp32")
    for name, clock in (("wall", 0), ("CPU", 1)):
        ours, bare = (statistics.median(t[clock] for t in times[WARM:]) / INNER for times in (turns.ours, turns.theirs))
        record(f"OptimizeNullText, an inner step ({name} time)", 1000 * ours, "ms")
        record(f"OptimizeNullText, of the bare loop's speed ({name} time)", bare / ours, "x")


if __name__ == "__main__":
    main()
