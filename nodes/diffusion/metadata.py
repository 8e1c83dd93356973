"""Metadata of LoRA files: kohya's `ss_*`, and ModelSpec 1.0.1."""

import hashlib
from collections.abc import Mapping

from nodes.diffusion.values import DiffusionModel, Family, LowRankAdapter

BASE_VERSION = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
ARCHITECTURE = {"sd1": "stable-diffusion-v1", "sd2": "stable-diffusion-v2-768-v", "sdxl": "stable-diffusion-xl-v1-base"}
SD1_RESOLUTION = 512


def kohya_metadata(model: DiffusionModel, adapter: LowRankAdapter, data: bytes) -> dict[str, str]:
    """Return what kohya's trainer writes; `data` are the bytes of all tensors, whose hash other programs show."""
    velocity = "_v" if model.prediction_type == "v_prediction" else ""
    digest = hashlib.sha256(data).hexdigest()
    return {
        **dict(adapter.training),
        "ss_v2": str(model.family == "sd2"),
        "ss_base_model_version": BASE_VERSION[model.family] + velocity,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(adapter.rank),
        "ss_network_alpha": str(adapter.alpha),
        "ss_network_args": "{}",
        "sshs_model_hash": digest,
        "sshs_legacy_hash": digest[:8],
    }


def modelspec_metadata(model: DiffusionModel, given: Mapping[str, str], data: bytes) -> dict[str, str]:
    """Return `modelspec.*`; `given` holds what a person wrote (title, author, ...), empty texts left out."""
    prediction = "v" if model.prediction_type == "v_prediction" else "epsilon"
    facts = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture(model)}/lora",
        "implementation": "https://github.com/huggingface/diffusers",
        "resolution": f"{model.resolution}x{model.resolution}",
        "prediction_type": prediction,
        "hash_sha256": f"0x{hashlib.sha256(data).hexdigest()}",
        **{name: text for name, text in given.items() if text},
    }
    facts.setdefault("title", f"LoRA for {model.name}")
    return {f"modelspec.{name}": text for name, text in facts.items()}


def architecture(model: DiffusionModel) -> str:
    """Return the ModelSpec id of the model; one of another size than its family's says so by its name."""
    family: Family = model.family
    if family == "sd2" and model.prediction_type == "epsilon":
        return "stable-diffusion-v2-512"
    if family == "sd1" and (model.resolution < SD1_RESOLUTION or model.prediction_type != "epsilon"):
        return f"latentloom/{model.name}"
    return ARCHITECTURE[family]
