"""What a model folder holds, read from its JSON files alone; needs no torch."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.values import Family, PredictionType

LAYOUT = "A diffusers folder has model_index.json and the folders unet, vae, text_encoder, tokenizer and scheduler."


@dataclass(frozen=True)
class ModelFacts:
    """Family, prediction type and native resolution of a diffusers folder."""

    family: Family
    prediction_type: PredictionType
    resolution: int
    text_parts: tuple[str, ...]
    """Folders of tokenizers and text encoders, in order of use."""


def inspect_folder(folder: Path) -> ModelFacts:
    """Return the facts of a diffusers folder; raise InputError when a part is missing, damaged or a pickle."""
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder.name} has no folder {part!r}.", field="model", remedy=LAYOUT)
    unet, vae = read_config(folder / "unet" / "config.json"), read_config(folder / "vae" / "config.json")
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    second = ("tokenizer_2", "text_encoder_2") if (folder / "text_encoder_2").is_dir() else ()
    for part in ("unet", "vae", "text_encoder", *second[1:]):
        _check_weights(folder / part)
    prediction_type = scheduler.get("prediction_type", "epsilon")
    if prediction_type not in ("epsilon", "v_prediction"):
        raise InputError(f"the scheduler predicts {prediction_type!r}; epsilon or v_prediction is needed.", field="model")
    return ModelFacts(
        family="sdxl" if second else "sd2" if unet.get("use_linear_projection") else "sd1",
        prediction_type=prediction_type,
        resolution=_side(unet) * 2 ** (len(vae["block_out_channels"]) - 1),
        text_parts=("tokenizer", "text_encoder", *second),
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return a JSON configuration; raise InputError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent.name}/{path.name} is missing.", field="model", remedy=LAYOUT) from None
    except ValueError:
        raise InputError(f"{path.parent.name}/{path.name} is not valid JSON.", field="model") from None


def _side(unet: dict[str, Any]) -> int:
    size = unet.get("sample_size", 64)
    return size if isinstance(size, int) else max(size)


def _check_weights(part: Path) -> None:
    """Every weight file is a whole safetensors file."""
    files = sorted(part.glob("*.safetensors"))
    if not files:
        pickled = any(part.glob("*.bin")) or any(part.glob("*.ckpt"))
        message = f"{part.name} holds only pickled weights (.bin)." if pickled else f"{part.name} holds no weights."
        raise InputError(message, field="model", remedy="Save the model with safe_serialization=True.")
    for file in files:
        check_safetensors(file)


def check_safetensors(file: Path) -> None:
    """Raise InputError when a safetensors file is empty, cut off or something else."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            header = json.loads(opened.read(length)) if 2 <= length <= min(size - 8, 100 * 2**20) else None
        except ValueError:
            header = None
    name = f"{file.parent.name}/{file.name}"
    if not isinstance(header, dict):
        raise InputError(f"{name} is not a safetensors file.", field="model", remedy="Copy or download it again.")
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise InputError(f"{name} is cut off.", field="model", remedy="Copy or download it again.")
