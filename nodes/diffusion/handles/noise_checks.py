"""Checks that a training's noise settings mean something for what the model predicts; needs no torch."""

from collections.abc import Sequence
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import PredictionType
from nodes.diffusion.handles.settings import DenoisingSettings


def check_noise_settings(settings: DenoisingSettings, prediction_type: PredictionType) -> None:
    """Raise InputError for a setting that has no meaning for a rectified flow, or only for one."""
    (_check_flow if prediction_type == "flow" else _check_ddpm)(settings)


def check_known_noise(settings: DenoisingSettings, known: Sequence[Any]) -> None:
    """Raise the same for the models of which it is known beforehand that they arrive at an input."""
    for model in known:
        check_noise_settings(settings, model["prediction_type"])


def _check_flow(settings: DenoisingSettings) -> None:
    if settings.snr_gamma:
        remedy = "Set it to 0; loss_weighting weights the levels of such a model."
        raise InputError("min-SNR weighting is for models that predict noise or velocity.", field="snr_gamma", remedy=remedy)
    if settings.zero_terminal_snr:
        message = "a rectified-flow model already ends at pure noise."
        raise InputError(message, field="zero_terminal_snr", remedy="Turn it off.")


def _check_ddpm(settings: DenoisingSettings) -> None:
    chosen = {
        "timestep_sampling": settings.timestep_sampling not in ("automatic", "uniform"),
        "shift": settings.shift not in (0, 1),
        "loss_weighting": settings.loss_weighting != "none",
    }
    if field := next((name for name, is_chosen in chosen.items() if is_chosen), ""):
        message = f"{field} is for rectified-flow models, and this one predicts noise or velocity."
        raise InputError(message, field=field, remedy="Leave it at its default; snr_gamma weights the levels of such a model.")
