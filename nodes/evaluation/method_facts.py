"""Facts about one method: the trained tensors, their size, cost, and what it learned."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graph_runtime.context import RunContext
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.safetensors_header import read_header
from nodes.diffusion.formats.single_file.header import is_single_file, read_single_file
from nodes.diffusion.formats.weight_files import files_read, pickled_parts
from nodes.diffusion.handles.adapters import Adapter, WeightChange
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.merging.source_tensors import is_part

METHODS = {
    "FineTune": "fine-tuning",
    "TrainDreamBooth": "DreamBooth",
    "TrainTI": "textual inversion",
    "TrainDreamArtist": "DreamArtist",
    "TrainHypernet": "hypernetwork",
    "TrainCustomDiffusion": "custom diffusion",
    "TrainLoRA": "LoRA",
}
"""What the report calls a training, by the class of its node."""


@dataclass(frozen=True)
class MethodFacts:
    """A row of the report; None is what is not known, or does not apply."""

    method: str
    trained: str = ""
    parameters: int | None = None
    file_bytes: int | None = None
    steps: int | None = None
    seconds: float | None = None
    peak_memory: int | None = None
    clip_i: float | None = None
    clip_t: float | None = None
    drift: float | None = None


def method_facts(model: DiffusionModel, scores: Mapping[str, float], drift: float, context: RunContext) -> MethodFacts:
    """Return the facts of a model, whose costs were kept when it was trained."""
    learned = MethodFacts("untrained", clip_i=scores.get("clip_i"), clip_t=scores.get("clip_t"), drift=drift)
    if not model.adapters:
        return learned
    files = [adapter.weights for adapter in model.adapters if adapter.weights]
    costs: dict[str, Any] = (context.find_item(f"costs:{files[-1].name}") if files else None) or {}
    return replace(
        learned,
        method=METHODS.get(costs.get("method", ""), " + ".join(adapter.label for adapter in model.adapters)),
        trained=" and ".join(dict.fromkeys(adapter.trained for adapter in model.adapters)),
        parameters=sum(map(_numbers, files)),
        file_bytes=sum(saved_bytes(adapter, context.locate(model.digest)) for adapter in model.adapters),
        steps=costs.get("steps"),
        seconds=costs.get("seconds"),
        peak_memory=costs.get("peak_memory"),
    )


def saved_bytes(adapter: Adapter, folder: Path) -> int:
    """Bytes of numbers in the file that it is saved to: half precision but for words and hypernetworks."""
    assert adapter.weights is not None
    if isinstance(adapter, WeightChange) and not adapter.endings:  # saved as a whole model
        if is_single_file(folder):
            shapes = read_single_file(folder).shapes
            return 2 * sum(math.prod(shape) for name, shape in shapes.items() if is_part(name, ("unet", "vae", "text_encoder")))
        pickles = [file for part in pickled_parts(folder) for file in files_read(part)]
        return 2 * sum(map(_numbers, (*folder.glob("*/*.safetensors"), *pickles)))
    return _numbers(adapter.weights) * adapter.number_bytes


def _numbers(file: Path) -> int:
    """Return how many numbers a file of weights holds, from its header alone."""
    if not is_safetensors(file):
        return sum(math.prod(shape) for shape in read_single_file(file).shapes.values())
    header, _ = read_header(file)
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
