"""Inversions on the disk, and whether a model is the one that they were made with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel, inversion_conditions
from nodes.diffusion.handles.results import Inversion, NullTextInversion

FORMAT = "latentloom null text 1"
NAMES = ("latent", "uncond", "ddim_latents")
REMEDY = "Give a file that SaveNullText wrote."


def check_model(inversion: Inversion, model: DiffusionModel) -> str:
    """Refuse a model with other weights or without trained adapters; return a warning when its adapters differ."""
    if inversion.model_digest != model.digest:
        remedy = "Wire the model that InvertDDIM had, or invert the picture with this one."
        raise InputError("this inversion was made with another model.", field="inversion", remedy=remedy)
    if any(adapter.weights is None for adapter in model.adapters):
        raise InputError("the model has an adapter that is not trained.", field="model", remedy="Wire the trained model here.")
    if inversion.conditions != inversion_conditions(model):
        return "the inversion was made with other adapters, clip_skip or max_token_length: the replay will not meet the picture."
    return ""


def read_path(inversion: Inversion) -> Tensor:
    """Return the latents [T + 1, c, h, w] from picture to noise; raise InputError when the file was saved without them."""
    tensors = load_file(inversion.file)
    if "ddim_latents" not in tensors:
        remedy = "Save it with ddim_latents, or invert the picture again."
        raise InputError("this inversion holds the noise alone, not the way to it.", field="inversion", remedy=remedy)
    return tensors["ddim_latents"]


def read_picture(inversion: Inversion) -> Tensor | None:
    """Return the latents [1, c, h, w] of the picture itself, None when the file was saved without them."""
    tensors = load_file(inversion.file)
    return tensors["ddim_latents"][:1] if "ddim_latents" in tensors else None


def read_noise(inversion: Inversion) -> Tensor:
    """Return the latents [1, c, h, w] that a replay begins with."""
    return load_file(inversion.file)["latent"]


def read_uncond(inversion: NullTextInversion) -> Tensor:
    """Return the unconditional embeddings [T, tokens, d]."""
    return load_file(inversion.uncond)["uncond"].to(torch.float32)


def metadata_of(inversion: NullTextInversion) -> dict[str, str]:
    """Return the metadata of a saved file."""
    width, height = inversion.size
    return {
        "format": FORMAT,
        "prompt": inversion.prompt,
        "model_hash": inversion.model_digest,
        "conditions": inversion.conditions,
        "scheduler": inversion.scheduler,
        "prediction_type": inversion.prediction_type,
        "zero_terminal_snr": str(inversion.zero_terminal_snr),
        "num_inference_steps": str(inversion.num_inference_steps),
        "guidance_scale": str(inversion.guidance_scale),
        "size": f"{width}x{height}",
    }


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, as float32, and the metadata of a saved file; raise InputError when it is no such file."""
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError("this file holds no null-text inversion.", field="file", remedy=REMEDY)
            tensors = {name: file.get_tensor(name).float() for name in NAMES if name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"this file cannot be read: {error}.", field="file", remedy=REMEDY) from None
    return tensors, metadata


def facts_from(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a NullTextInversion; raise InputError when tensors and metadata do not belong together."""
    try:
        steps = int(metadata["num_inference_steps"])
        width, height = (int(side) for side in metadata["size"].split("x"))
        path = tensors.get("ddim_latents")
        whole = len(tensors["latent"]) == 1 and len(tensors["uncond"]) == steps and (path is None or len(path) == steps + 1)
        if not (whole and all(tensor.isfinite().all() for tensor in tensors.values())):
            raise ValueError("its tensors do not fit its metadata")
        json.loads(metadata["scheduler"])
        return {
            "prompt": metadata["prompt"],
            "model_digest": metadata["model_hash"],
            "conditions": metadata["conditions"],
            "scheduler": metadata["scheduler"],
            "prediction_type": metadata["prediction_type"],
            "zero_terminal_snr": metadata["zero_terminal_snr"] == "True",
            "num_inference_steps": steps,
            "guidance_scale": float(metadata["guidance_scale"]),
            "size": (width, height),
        }
    except (KeyError, ValueError) as error:
        raise InputError(f"this null-text inversion is damaged: {error}.", field="file", remedy=REMEDY) from None
