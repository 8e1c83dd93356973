"""SaveSafetensors."""

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from graph_runtime.context import METADATA_KEY, Artifact, RunContext, Sha256
from graph_runtime.node import FileName, Node, Wired, with_suffix
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.diffusion.handles.wired_models import refuse_bare, refuse_untrained

if TYPE_CHECKING:
    from torch import Tensor


def _is_date(text: str) -> str:
    if text:
        datetime.date.fromisoformat(text)
    return text


class SaveSafetensors(Node):
    """Write a trained LoRA, one of its family, or a merged checkpoint, with the workflow that made it inside the file.

    The bytes depend on the workflow, its inputs and the library versions alone. An existing file is never overwritten.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save model", "save LoRA", "save merge", "export checkpoint")
    side_effects: ClassVar[bool] = True
    version: ClassVar[int] = 3

    filename: FileName = "lora.safetensors"
    """Name of the file."""
    layout: Literal["kohya", "diffusers"] = "kohya"
    """Names of the tensors; plain LoRAs of one rank alone fit into `diffusers`. A checkpoint keeps the layout that it has.
    For Z-Image and FLUX.2 klein, `kohya` stands for the names that most programs read: `diffusion_model.`, PEFT's leaves, alpha
    inside.

    LoRA and rsLoRA (kohya layout): AUTOMATIC1111, ComfyUI, sd-scripts and diffusers.
    LoHa and LoKr: AUTOMATIC1111 and ComfyUI; sd-scripts reads it with LyCORIS' module; not diffusers.
    DoRA: AUTOMATIC1111 and ComfyUI; sd-scripts takes it for a plain LoRA but with LyCORIS' module; diffusers takes it for a
    plain LoRA.
    LoRA (diffusers layout): diffusers; not AUTOMATIC1111, ComfyUI and sd-scripts."""
    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Numbers in the file; fp16 halves its size."""
    title: str = ""
    """Shown by programs that read ModelSpec."""
    author: str = ""
    """Who trained it."""
    description: str = ""
    """What it does."""
    trigger_phrase: str = ""
    """The words that call it."""
    license: str = ""
    """The license it is given under."""
    date: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$"), AfterValidator(_is_date)] = ""
    """A date for those who want one, as 2026-01-31; left empty, the file has none."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        remedy = "Wire the model as TrainLoRA returns it; SaveCheckpoint and SavePipeline write whole models."
        refuse_bare(wired["model"], "this model has no LoRA.", remedy)

    def run(self, model: DiffusionModel | Checkpoint, context: RunContext) -> tuple[Artifact, ...]:
        name = with_suffix(self.filename, ".safetensors")
        file = self._checkpoint(model, context) if isinstance(model, Checkpoint) else self._lora(model, context)
        return (Artifact(name, file),)

    def _lora(self, model: DiffusionModel, context: RunContext) -> Path:
        adapter = _only_lora(model)
        tensors, dtype = diffusion.adapters.adapter_tensors(adapter), diffusion.DTYPES[self.precision]
        if self.layout == "kohya":
            written = diffusion.adapters.kohya_tensors(
                adapter,
                tensors,
                model.family,
                diffusion.adapters.denoiser_layers(context.locate(model.digest), model.family),
                dtype,
            )
        else:
            written = diffusion.adapters.diffusers_tensors(adapter, tensors, model.family, dtype)
        _check_finite(written)
        data = diffusion.formats.tensor_bytes(written)
        content = diffusion.formats.safetensors_bytes(written, self._metadata(model, adapter, data, context), data)
        return context.add_file(".safetensors", lambda path: path.write_bytes(content))

    def _checkpoint(self, model: Checkpoint, context: RunContext) -> Path:
        plan = diffusion.merging.planned(model.recipe, context.locate)
        metadata = diffusion.merging.merge_metadata(plan, model.family, self._given(), self.precision)
        metadata[METADATA_KEY] = context.provenance.text()
        dtype = diffusion.DTYPES[self.precision]

        def write(path: Path) -> Sha256:
            return Sha256(diffusion.merging.write_merged(plan, dtype, metadata, path, context.progress))

        return context.add_file(".safetensors", write)

    def _given(self) -> dict[str, str]:
        names = ("title", "author", "description", "trigger_phrase", "license", "date")
        return {name: getattr(self, name) for name in names}

    def _metadata(self, model: DiffusionModel, adapter: LowRankAdapter, data: bytes, context: RunContext) -> dict[str, str]:
        data_hash = hashlib.sha256(data).hexdigest()
        architecture = diffusion.adapters.architecture_of(model, context.locate(model.digest))
        metadata = {
            **diffusion.adapters.kohya_metadata(model, adapter, architecture, data_hash),
            **diffusion.adapters.modelspec_metadata(model, self._given(), architecture, data_hash),
            METADATA_KEY: context.provenance.text(),
        }
        metadata["ss_output_name"] = metadata["modelspec.title"]
        if self.layout == "diffusers":
            metadata |= {"format": "pt", "lora_adapter_metadata": diffusion.adapters.diffusers_config(adapter, model.family)}
        return metadata


def _only_lora(model: DiffusionModel) -> LowRankAdapter:
    found = [adapter for adapter in model.adapters if isinstance(adapter, LowRankAdapter)]
    if len(found) != 1:
        number = "several LoRAs" if found else "no LoRA"
        remedy = "Wire the model as TrainLoRA returns it, with one LoRA."
        raise InputError(f"this model has {number}.", field="model", remedy=remedy)
    if found[0].weights is None:
        raise InputError("this LoRA has not been trained.", field="model", remedy="Put TrainLoRA before this node.")
    return found[0]


def _check_finite(tensors: dict[str, "Tensor"]) -> None:
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        remedy = "Save as fp32 or bf16, or train with a lower learning_rate."
        raise InputError(f"{bad[0]} holds numbers that are not finite.", field="precision", remedy=remedy)
