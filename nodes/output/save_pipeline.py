"""SavePipeline."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node, Wired
from nodes import diffusion
from nodes.diffusion.families.registry import part_name
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.wired_models import refuse_untrained
from nodes.output.whole_models import trained_changes


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

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])

    def run(self, model: DiffusionModel, context: RunContext) -> tuple[Artifact, ...]:
        files = tuple(self._files(model, trained_changes(model, context.message), context))
        return (Artifact(self.filename, files[0][1], files),)

    def _files(self, model: DiffusionModel, changes: list[WeightChange], context: RunContext) -> Iterator[tuple[str, Path]]:
        """Every file of the folder, one part in memory at a time."""

        def kept(name: str, content: bytes) -> tuple[str, Path]:
            return name, context.add_file(Path(name).suffix, lambda path: path.write_bytes(content))

        place = context.locate(model.digest)
        folder = diffusion.formats.described(place)
        yield kept("model_index.json", diffusion.models.model_index(model, folder))
        for name, content in diffusion.models.description_files(model, place).items():
            yield kept(name, content)
        changed = {name: tensor for change in changes for name, tensor in diffusion.adapters.tensors_of(change).items()}
        apart = dict(model.files)
        metadata = {"format": "pt", METADATA_KEY: context.provenance.text()}
        for part, weights in diffusion.models.weight_parts(folder, model.family).items():
            file = context.locate(apart[part]) if part in apart else None
            own = diffusion.models.part_tensors(model, place, part, file)
            tensors = diffusion.models.changed_tensors(
                own, part_name(model.family, part), changed, diffusion.DTYPES[self.precision]
            )
            context.stop_if_asked()
            content = diffusion.formats.safetensors_bytes(tensors, metadata, diffusion.formats.tensor_bytes(tensors))
            yield kept(f"{part}/{weights}.safetensors", content)
