"""Weight files of a model's part: safetensors or, where there are none, PyTorch's pickles. Needs no torch."""

import re
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import part_folders
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.pickle_checks import CodeRefused, Refused, look_through

PLAIN = (".json", ".txt", ".safetensors")
"""Suffixes of the files that identify a model's folder."""
PICKLED = re.compile(r"(diffusion_)?pytorch_model\b[\w.-]*\.bin")
"""Names of weight files; trainers write others beside them, such as `optimizer.bin`."""
CLIP_PARTS = ("image_encoder", "image_normalizer")
"""Folders with weights that a model may have beside its family's parts."""


def weight_files(part: Path) -> list[Path]:
    """Return all files of weights in a part's folder, of one kind."""
    pickles = (file for file in part.glob("*.bin") if PICKLED.fullmatch(file.name))
    return sorted(part.glob("*.safetensors")) or sorted(pickles)


def weights_variant(part: Path) -> str | None:
    """Return `fp16` for a folder that holds only `model.fp16.safetensors` or similar; None if it has plain names."""
    endings = [file.name.split(".")[1:-1] for file in weight_files(part)]
    return endings[0][0].split("-")[0] if endings and all(endings) else None


def files_read(part: Path) -> list[Path]:
    """Return the files that a part is read from: those with plain names or, where there are none, of one variant."""
    variant = weights_variant(part)
    return [file for file in weight_files(part) if _is_variant(file, variant)]


def _is_variant(file: Path, variant: str | None) -> bool:
    parts = file.name.split(".")
    return (variant is None and len(parts) == 2) or (variant is not None and variant in "-".join(parts[1:-1]))


def is_pickled(part: Path) -> bool:
    """Return whether a part's folder holds pickles of weights and no safetensors."""
    return not all(map(is_safetensors, weight_files(part)))


def pickled_parts(folder: Path) -> list[Path]:
    """Return the parts of a model, or of a CLIP that is one folder, that are read from pickles."""
    names = (*part_folders(weights=True), *CLIP_PARTS)
    return [part for part in (folder, *(folder / name for name in names)) if is_pickled(part)]


def identifying(folder: Path) -> tuple[str, ...]:
    """Return the suffixes of the files that identify a model's folder, including pickles if they are read."""
    return (*PLAIN, ".bin") if pickled_parts(folder) else PLAIN


def check_pickle(file: Path) -> None:
    """Raise InputError unless a pickle holds tensors and plain data alone, and no more than its size justifies."""
    name = f"{file.parent.name}/{file.name}"
    try:
        look_through(file)
    except CodeRefused as error:
        remedy = "Get the model as safetensors, from someone you trust: nothing in it was executed."
        raise InputError(f"{name} is not opened: it asks for code to be run.", field="model", remedy=remedy) from error
    except Refused as error:
        raise InputError(f"{name} is not opened: {error}.", field="model", remedy="Copy or download it again.") from error
