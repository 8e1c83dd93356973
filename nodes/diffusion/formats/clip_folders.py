"""Folders of the parts of a CLIP (Radford et al. 2021): a folder of transformers, or of a diffusion model. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel

BUNDLED_CLIP = "loom-emoji"
BUNDLED_FOLDER = Path(__file__).parent.parent.parent / "models" / "loom_emoji"
REMEDY = "Name the folder of a CLIP model of transformers, or one that holds image_encoder and feature_extractor."


@dataclass(frozen=True)
class ClipFolders:
    """The folders of a CLIP's parts, which may be the same one."""

    image_encoder: Path
    feature_extractor: Path
    text_encoder: Path
    tokenizer: Path


def clip_reference(clip: str) -> str:
    """Return the path of a CLIP; the bundled one is given by name."""
    return str(BUNDLED_FOLDER) if clip == BUNDLED_CLIP else clip


def clip_folders(folder: Path) -> ClipFolders:
    """Return the folders of a CLIP's parts; raise InputError without an image encoder. Text parts may lack a projection."""
    if (folder / "image_encoder").is_dir() and (folder / "feature_extractor").is_dir():
        return ClipFolders(*(folder / part for part in ("image_encoder", "feature_extractor", "text_encoder", "tokenizer")))
    whole = (folder / "config.json").is_file() and (folder / "preprocessor_config.json").is_file()
    if whole and read_config(folder / "config.json").get("model_type") == "clip":
        return ClipFolders(folder, folder, folder, folder)
    raise InputError(f"{folder.name} holds no CLIP image encoder.", field="clip", remedy=REMEDY)


def check_clip_is_stored(model: DiffusionModel) -> None:
    """Raise InputError for a model whose CLIP was trained in this graph, as its folder holds another, or none."""
    if model.initial_seed is not None or any(isinstance(one, WeightChange) and one.image_encoder for one in model.adapters):
        remedy = "Write the model with SavePipeline and load that folder, or name the folder of its CLIP in clip."
        raise InputError("this model's CLIP lies in no folder yet.", field="model", remedy=remedy)


def text_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a text encoder, alone or inside that of a whole CLIP."""
    config = read_config(folder / "config.json")
    return config["text_config"] if config.get("model_type") == "clip" else config


def has_text_projection(folder: Path) -> bool:
    """Return whether a text encoder's features can be compared with those of pictures."""
    if not (folder / "config.json").is_file():
        return False
    architectures = read_config(folder / "config.json").get("architectures") or [""]
    return "WithProjection" in architectures[0] or architectures[0] == "CLIPModel"
