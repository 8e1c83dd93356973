"""Metadata of LoRA files: kohya's `ss_*`, and ModelSpec 1.0.1."""

import json
from collections.abc import Mapping
from pathlib import Path

from nodes.diffusion.adapters.lora.write import effective_alpha
from nodes.diffusion.families.protocol import denoiser_folder
from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.formats.modelspec import PREDICTIONS
from nodes.diffusion.handles.adapters import Algorithm, LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel


def kohya_metadata(model: DiffusionModel, adapter: LowRankAdapter, architecture: str, data_hash: str) -> dict[str, str]:
    """Return kohya's metadata; `data_hash` is the sha256 of the tensors' bytes, which other programs show."""
    alpha = adapter.rank if facts(model.family).lora_leaves == "peft" else effective_alpha(adapter)
    return {
        **dict(adapter.training),
        **facts(model.family).kohya_metadata(model.prediction_type),
        **({"ss_base_model_version": architecture} if architecture.startswith("custom-") else {}),
        "ss_network_module": "lycoris.kohya" if _network_args(adapter) else "networks.lora",
        "ss_network_dim": str(adapter.rank),
        "ss_network_alpha": str(alpha),
        "ss_network_args": json.dumps(_network_args(adapter)),
        "sshs_model_hash": data_hash,
    }


def _network_args(adapter: LowRankAdapter) -> dict[str, str]:
    """Return the arguments of LyCORIS' trainer for such an adapter; empty for those of kohya's own trainer."""
    convolutions = {"conv_dim": str(adapter.rank), "conv_alpha": str(effective_alpha(adapter))}
    known: dict[Algorithm, dict[str, str]] = {
        "locon": {"algo": "locon", **convolutions},
        "loha": {"algo": "loha", **convolutions},
        "lokr": {"algo": "lokr", **convolutions, "factor": str(adapter.factor)},
        "dora": {"algo": "locon", **convolutions, "dora_wd": "True", "wd_on_output": "False"},
    }
    return known.get(adapter.algorithm, {})


def modelspec_metadata(
    model: DiffusionModel, given: Mapping[str, str], architecture: str, data_hash: str, kind: str = "lora"
) -> dict[str, str]:
    """Return `modelspec.*` of a `kind` of file; `given` holds the user's entries (title, author, ...), empty ones left out."""
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture}/{kind}",
        "implementation": "diffusers",
        "title": f"LoRA for {model.name}",
        "resolution": f"{model.resolution}x{model.resolution}",
        "prediction_type": PREDICTIONS.get(model.prediction_type, ""),
        "hash_sha256": f"0x{data_hash}",
        **{name: text for name, text in given.items() if text},
    }
    return {f"modelspec.{name}": text for name, text in spec.items() if text}


def architecture_of(model: DiffusionModel, folder: Path) -> str:
    """Return the ModelSpec id of a model; a model that differs from its family's published architecture gets its own id."""
    family = facts(model.family)
    return family.architecture(read_config(folder / denoiser_folder(family) / "config.json"), model.prediction_type)
