"""SavePipeline."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node
from nodes.diffusion.adapters import TokenEmbedding, WeightChange
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import DiffusionModel


class SavePipeline(Node):
    """Write a whole model, with the weights that were trained, as a diffusers folder.

    `StableDiffusionPipeline.from_pretrained` and LoadModel open it. New words are files of their own: see SaveEmbedding.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save checkpoint", "save model", "diffusers folder", "export pipeline")
    side_effects: ClassVar[bool] = True

    filename: FileName = "model"
    """Name of the folder."""
    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Numbers in the files; fp16 halves their size."""

    def run(self, model: DiffusionModel, context: RunContext) -> tuple[Artifact, ...]:
        for adapter in model.adapters:
            if not isinstance(adapter, WeightChange | TokenEmbedding):
                remedy = "Save it as a file of its own, and the model without it."
                raise InputError(f"{adapter.label} is laid over the weights, not part of them.", field="model", remedy=remedy)
            if adapter.weights is None:
                raise InputError(f"{adapter.label} has not been trained.", field="model", remedy="Wire the trained model here.")
            if isinstance(adapter, TokenEmbedding):
                context.message(f"the word {adapter.placeholder_token} is not in the folder: SaveEmbedding writes it.")
        files = tuple(self._files(model, context))
        return (Artifact(self.filename, files[0][1], files),)

    def _files(self, model: DiffusionModel, context: RunContext) -> Iterator[tuple[str, Path]]:
        """Every file of the folder, one part in memory at a time."""
        from nodes.diffusion.devices import DTYPES
        from nodes.diffusion.pipeline_folders import PARTS, description_files, model_index, part_tensors, weight_parts
        from nodes.diffusion.safetensors_writer import safetensors_bytes, tensor_bytes
        from nodes.diffusion.weights import tensors_of

        def kept(name: str, content: bytes) -> tuple[str, Path]:
            return name, context.add_file(Path(name).suffix, lambda path: path.write_bytes(content))

        folder = context.locate(model.digest)
        yield kept("model_index.json", model_index(folder))
        for name, content in description_files(folder, zero_terminal_snr=model.zero_terminal_snr).items():
            yield kept(name, content)
        changes = [adapter for adapter in model.adapters if isinstance(adapter, WeightChange)]
        changed = {name: tensor for change in changes for name, tensor in tensors_of(change).items()}
        metadata = {"format": "pt", METADATA_KEY: context.provenance.text()}
        for part in weight_parts(folder):
            tensors = part_tensors(folder, part, changed, DTYPES[self.precision])
            context.stop_if_asked()
            content = safetensors_bytes(tensors, metadata, tensor_bytes(tensors))
            yield kept(f"{part}/{PARTS[part][2]}.safetensors", content)
