"""Metadata of LoRA files: kohya's `ss_*`, and ModelSpec 1.0.1."""

import json
from collections.abc import Mapping
from pathlib import Path

from nodes.diffusion.adapters.lora.write import effective_alpha
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.handles.adapters import Algorithm, LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel

BASE_VERSION = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
PUBLISHED = {"sd1": ((320, 640, 1280, 1280), 768), "sd2": ((320, 640, 1280, 1280), 1024), "sdxl": ((320, 640, 1280), 2048)}
"""Channels of the UNet's blocks and width of its text embeddings, by family, as published."""


def kohya_metadata(model: DiffusionModel, adapter: LowRankAdapter, architecture: str, data_hash: str) -> dict[str, str]:
    """Return what kohya's trainer writes; `data_hash` is the sha256 of the tensors' bytes, which other programs show."""
    return {
        **dict(adapter.training),
        "ss_v2": str(model.family == "sd2"),
        "ss_base_model_version": base_version(model, architecture),
        "ss_network_module": "lycoris.kohya" if _network_args(adapter) else "networks.lora",
        "ss_network_dim": str(adapter.rank),
        "ss_network_alpha": str(effective_alpha(adapter)),
        "ss_network_args": json.dumps(_network_args(adapter)),
        "sshs_model_hash": data_hash,
    }


def _network_args(adapter: LowRankAdapter) -> dict[str, str]:
    """The arguments of LyCORIS' trainer that make such an adapter; none for what kohya's own trainer makes."""
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
    """Return `modelspec.*` of a `kind` of file; `given` holds what a person wrote (title, author, ...), empty texts left out."""
    facts = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture}/{kind}",
        "implementation": "diffusers",
        "title": f"LoRA for {model.name}",
        "resolution": f"{model.resolution}x{model.resolution}",
        "prediction_type": "v" if model.prediction_type == "v_prediction" else "epsilon",
        "hash_sha256": f"0x{data_hash}",
        **{name: text for name, text in given.items() if text},
    }
    return {f"modelspec.{name}": text for name, text in facts.items()}


def architecture_of(model: DiffusionModel, folder: Path) -> str:
    """Return the ModelSpec id of a model; one whose UNet is not built as its family was published gets an id of its own."""
    unet = read_config(folder / "unet" / "config.json")
    channels, width = tuple(unet["block_out_channels"]), unet["cross_attention_dim"]
    if (channels, width) != PUBLISHED[model.family]:
        return f"custom-{model.family}-{'-'.join(map(str, channels))}"
    second = "stable-diffusion-v2-768-v" if model.prediction_type == "v_prediction" else "stable-diffusion-v2-512"
    return {"sd1": "stable-diffusion-v1", "sd2": second, "sdxl": "stable-diffusion-xl-v1-base"}[model.family]


def base_version(model: DiffusionModel, architecture: str) -> str:
    """Return kohya's name of the base model; it marks v-prediction for SD1 and SD2 only."""
    if architecture.startswith("custom-"):
        return architecture
    marked = model.prediction_type == "v_prediction" and model.family != "sdxl"
    return BASE_VERSION[model.family] + ("_v" if marked else "")
