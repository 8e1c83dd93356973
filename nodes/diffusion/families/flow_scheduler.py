"""Steps of a rectified flow from noise to a picture."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.families.drawing_checks import check_sampler
from nodes.diffusion.families.flow import shifted
from nodes.diffusion.families.schedulers import Sampler


@dataclass(frozen=True)
class _Step:
    prev_sample: Tensor


class FlowScheduler:
    """Euler's steps along the velocity, or DPM-Solver++ (2M) (Lu et al. 2022), over the levels of diffusers' flow pipelines."""

    init_noise_sigma = 1.0

    def __init__(self, shift_at: Callable[[int], float], sampler: Sampler) -> None:
        check_sampler("flow", sampler)
        self.shift_at = shift_at
        """The factor by which levels move toward noise, by the number of steps."""
        self.second_order = sampler == "dpm++ 2m"
        """Whether the last step's picture counts too; `ddim` and `euler` are the same for a rectified flow."""
        self.timesteps = torch.empty(0)

    def set_timesteps(self, num_inference_steps: int, /, *, device: Any) -> None:
        """Spread the levels from 1 to 1 / n evenly, shift them, and end at 0."""
        even = torch.linspace(1, 1 / num_inference_steps, num_inference_steps)
        levels = shifted(even, self.shift_at(num_inference_steps))
        self._levels = [*levels.tolist(), 0.0]
        self.timesteps = levels.to(device)
        self._number, self._last_picture = 0, torch.empty(0)

    def scale_model_input(self, sample: Tensor, timestep: Any, /) -> Tensor:
        """Return the latents as they are."""
        return sample

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, /) -> _Step:
        """Return the latents at the next level; steps are taken in order."""
        here, there = self._levels[self._number : self._number + 2]
        picture = sample - here * model_output
        last, self._last_picture, self._number = self._last_picture, picture, self._number + 1
        if not self.second_order or self._number == 1 or not there:
            return _Step(sample + (there - here) * model_output)
        before, at, after = (_log_snr(level) for level in self._levels[self._number - 2 : self._number + 1])
        weight = (after - at) / (2 * (at - before))  # Lu et al. 2022, algorithm 2
        return _Step(there / here * sample + (1 - there / here) * ((1 + weight) * picture - weight * last))


def _log_snr(level: float) -> float:
    """Return log((1 - t) / t), finite where only noise is left."""
    level = min(level, 1 - 1e-6)
    return math.log((1 - level) / level)
