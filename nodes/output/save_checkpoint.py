"""SaveCheckpoint."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Known, Node, with_suffix
from nodes import diffusion
from nodes.diffusion.families.protocol import weight_folders
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.formats.modelspec import PREDICTIONS
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.handles.adapters import in_folder
from nodes.diffusion.handles.models import DiffusionModel
from nodes.output.whole_models import trained_changes

if TYPE_CHECKING:
    from torch import Tensor

    from nodes.diffusion.formats.single_file.writing import Written


class SaveCheckpoint(Node):
    """Write a whole model, with the weights that were trained, as one file for AUTOMATIC1111, ComfyUI, kohya and LoadModel.

    A model that came from one file keeps every tensor of it that was not trained, bit by bit. New words are files of their own:
    see SaveEmbedding.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save model", "single file", "export safetensors", "LDM checkpoint")
    side_effects: ClassVar[bool] = True

    filename: FileName = "model.safetensors"
    """Name of the file."""
    precision: Literal["as loaded", "fp16", "bf16", "fp32"] = "as loaded"
    """Numbers in the file; fp16 halves the size of fp32."""
    title: str = ""
    """Shown by programs that read ModelSpec; left empty, the model's name."""
    author: str = ""
    """Who trained it."""
    description: str = ""
    """What it does."""
    license: str = ""
    """The license it is given under."""

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "single file")

    def run(self, model: DiffusionModel, context: RunContext) -> tuple[Artifact, ...]:
        check_method(model.family, "single file")
        changes = trained_changes(model, context.message)
        place = context.locate(model.digest)
        changed = {
            in_folder(name): tensor for change in changes for name, tensor in diffusion.adapters.tensors_of(change).items()
        }
        family = diffusion.families.facts(model.family)
        precision = None if self.precision == "as loaded" else diffusion.DTYPES[self.precision]
        scaled = not precision and not changed and not model.moving_average
        metadata = self._metadata(model, place, context) | (_of_scales(place) if scaled else {})
        with ExitStack() as stack:
            whole = _whole(model, place, stack, changed.keys(), scaled=scaled)
            written = diffusion.formats.with_changes(whole, changed, family.tensor_names(whole))
            if not precision and any(own.dtype != whole[name].dtype for name, own in written.items()):
                context.message("fp8 is too coarse for what was trained: those tensors are written as fp16.")
            written = diffusion.formats.marked(written, family, model.prediction_type, zero_snr=model.zero_terminal_snr)
            file = context.add_file(
                ".safetensors",
                lambda path: diffusion.formats.write_checkpoint(written, precision, metadata, path, context.progress),
            )
        name = with_suffix(self.filename, ".safetensors")
        return (Artifact(name, file),)

    def _metadata(self, model: DiffusionModel, place: Path, context: RunContext) -> dict[str, str]:
        texts = {name: content.decode() for name, content in diffusion.models.description_files(model, place).items()}
        family = diffusion.families.facts(model.family)
        own = diffusion.formats.own_descriptions(texts, family)
        architecture = diffusion.adapters.architecture_of(model, place)
        if not architecture.startswith("custom-") and diffusion.formats.info_of(model, place).purpose == "inpainting":
            architecture = family.inpainting_architecture or architecture
        spec = {
            "sai_model_spec": "1.0.1",
            "architecture": architecture,
            "implementation": "sgm",
            "title": self.title or model.name,
            "resolution": f"{model.resolution}x{model.resolution}",
            "prediction_type": PREDICTIONS.get(model.prediction_type, ""),
            "author": self.author,
            "description": self.description,
            "license": self.license,
        }
        return {
            "format": "pt",
            **{f"modelspec.{name}": text for name, text in spec.items() if text},
            **({diffusion.formats.METADATA_NAME: json.dumps(own, sort_keys=True)} if own else {}),
            METADATA_KEY: context.provenance.text(),
        }


def _of_scales(place: Path) -> dict[str, str]:
    """Return what ComfyUI reads of the layers whose weights are scaled, where no tensors say it."""

    said = diffusion.formats.read_single_file(place).metadata if is_single_file(place) else {}
    return {name: text for name, text in said.items() if name == "_quantization_metadata"}


def _whole(model: DiffusionModel, place: Path, stack: ExitStack, changed: Iterable[str], *, scaled: bool) -> "dict[str, Written]":
    """The model without what was trained, in the layout of a single file."""
    if is_single_file(place):
        file = diffusion.formats.read_single_file(place)
        trained = any(name.startswith("unet.") for name in changed)
        return diffusion.formats.of_file(file, stack, moving_average=model.moving_average, unet_trained=trained, scaled=scaled)
    family = diffusion.families.facts(model.family)
    found: dict[str, Tensor] = {}
    for part in weight_folders(family):
        own = diffusion.models.part_tensors(model, place, part)
        found |= {f"{part}.{name}": tensor for name, tensor in own.items()}
    return diffusion.formats.of_folder(found, family)
