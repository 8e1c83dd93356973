"""LoadCustomDiffusion."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel


class LoadCustomDiffusion(Node):
    """Lay the keys and values of a custom diffusion file over a model; its words come through LoadEmbedding."""

    synonyms: ClassVar[tuple[str, ...]] = ("pytorch_custom_diffusion_weights.bin", "load attention processors")

    file: WorkspaceFile
    """`pytorch_custom_diffusion_weights.bin` of diffusers, or a file of SaveCustomDiffusion."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not files.resolve(self.file).is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose a custom diffusion file.")
        return files.digest_file(self.file)

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        from safetensors.torch import save_file

        tensors = diffusion.adapters.read_processors(context.locate(context.fingerprint))
        diffusion.adapters.check_places(tensors, context.locate(model.digest))
        weights = context.add_file(".safetensors", lambda path: save_file(tensors, path))
        endings = tuple(sorted({f"attn2.{name.rpartition('attn2.')[2]}" for name in tensors}))
        change = WeightChange(name="custom diffusion", endings=endings, weights=weights)
        return replace(model, adapters=(*model.adapters, change))
