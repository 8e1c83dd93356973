"""LoadCheckpoint."""

import re
from pathlib import Path
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import CONVERT, family_of, layout_of, read_header
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.formats.weight_files import PLAIN
from nodes.diffusion.handles.recipes import Checkpoint, Source
from nodes.models.load_model import BUNDLED

LORA_TENSOR = re.compile(
    r"^(lora_unet|lora_te\d?|lycoris)_|\.(lora_(up|down|mid|A|B|magnitude_vector)|lora\.(up|down)|lora_linear_layer|"
    r"hada_[wt]\d|lokr_[wt]\d|dora_scale)\b|\.(hada_w\d|lokr_w\d)_[ab]$|_lora\.(up|down)\."
)
"""Names that tensors of LoRAs have in every spelling, and those of checkpoints in none."""
MERGE_LORA = "LoRAs are averaged by MergeLoRA behind LoadLoRA, for a product of averaged factors is not the average."


class LoadCheckpoint(Node):
    """Open a checkpoint for merging: a safetensors file of SD 1.x, SD 2.x or SDXL, a diffusers folder, or the bundled model.

    Only the header is read here; tensors are read while the result is written.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("checkpoint", "single file", "safetensors", "merge")

    path: ModelReference = "loom-emoji"
    """A `.safetensors` file or a model's folder in the workspace, or `loom-emoji`, the model that comes with the program."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        reference = str(BUNDLED.get(self.path, self.path))
        place = files.resolve(reference)
        if not place.exists():
            remedy = f"The bundled model is {' or '.join(BUNDLED)}; a file is looked for in the workspace."
            raise InputError(f"there is no checkpoint {self.path!r}.", field="path", remedy=remedy)
        if place.is_file() and not is_safetensors(place):
            raise InputError(f"{place.name} is no safetensors file.", field="path", remedy=CONVERT)
        try:
            side = inspect_folder(place).resolution if place.is_dir() else 0
            if not (names := read_header(place)):
                raise InputError(f"{place.name} holds no tensors.")
            if any(map(LORA_TENSOR.search, names)):
                raise InputError(f"{place.name} is a LoRA, no checkpoint.", remedy=MERGE_LORA)
        except InputError as error:
            raise InputError(str(error), field="path", remedy=error.remedy) from None
        digest = files.digest_folder(reference, PLAIN) if place.is_dir() else files.digest_file(reference)
        return {"digest": digest, "name": self.path if self.path in BUNDLED else Path(place).stem, "resolution": side}

    def known(self, files: OutsideFiles) -> Json:
        place = files.resolve(str(BUNDLED.get(self.path, self.path)))
        header = read_header(place)
        return {"name": place.stem, "family": family_of(header), "layout": layout_of(header)}

    def run(self, context: RunContext) -> Checkpoint:
        source = Source(**context.fingerprint)
        return Checkpoint(source, family_of(read_header(context.locate(source.digest))))
