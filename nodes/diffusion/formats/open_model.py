"""Handles on models for use without a graph, as in a notebook."""

from pathlib import Path

from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.handles.models import DiffusionModel


def open_model(place: Path) -> DiffusionModel:
    """Return a handle on a diffusers folder or a checkpoint in one file; only its descriptions are read.

    Its path is its identity, so that `Path` finds it for `model_in_use`. Raises InputError for what is no model.
    """
    info = inspect_folder(place)
    identity = str(place.resolve())
    return DiffusionModel(
        digest=identity,
        name=place.stem,
        family=info.family,
        prediction_type=info.prediction_type,
        resolution=info.resolution,
        vae_digest=f"{identity} vae",
        text_digest=f"{identity} text",
        zero_terminal_snr=info.zero_terminal_snr,
        info=info,
    )
