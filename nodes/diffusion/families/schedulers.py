"""Steps from noise to a picture: diffusers' schedulers of denoising diffusion, and what other families give in their place."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import diffusers
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.ddpm import needs_signal

Sampler = Literal["ddim", "euler", "euler ancestral", "dpm++ 2m"]
CLASSES: dict[Sampler, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
}
RANDOM_STEPS = CLASSES["euler ancestral"][0]
"""The class whose steps take generators."""


class Scheduler(Protocol):
    """What sampling asks of a scheduler, in diffusers' names."""

    @property
    def timesteps(self) -> Tensor:
        """The noise levels from noise to picture, in the denoiser's own numbers."""
        ...

    @property
    def init_noise_sigma(self) -> Any:
        """The deviation of the first latents."""
        ...

    def set_timesteps(self, num_inference_steps: int, /, *, device: Any) -> None: ...
    def scale_model_input(self, sample: Tensor, timestep: Any, /) -> Tensor: ...
    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, /, **options: Any) -> Any:
        """Return an object whose `prev_sample` are the latents after the step."""
        ...


def ddpm_scheduler(config: Mapping[str, Any], sampler: Sampler, *, zero_terminal_snr: bool) -> Any:
    """Return a fresh diffusers scheduler for a model's own noise schedule and prediction type.

    With no signal at the last timestep, sampling begins at just that one (Lin et al. 2024, section 3.3).
    """
    name, options = CLASSES[sampler]
    if zero_terminal_snr or config.get("rescale_betas_zero_snr"):
        if needs_signal(config["prediction_type"]):
            remedy = "Train with zero_terminal_snr off, or from a v-prediction model."
            message = "a model that predicts noise cannot sample at zero terminal SNR, where nothing of the picture is left."
            raise InputError(message, field="model", remedy=remedy)
        options = {**options, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return getattr(diffusers, name).from_config(dict(config), **options)
