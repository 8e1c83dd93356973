"""SaveAestheticEmbedding."""

from pathlib import PurePath
from typing import ClassVar, Literal

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node
from nodes import diffusion
from nodes.diffusion.handles.results import AestheticEmbedding

SUFFIXES = {"A1111": ".pt", "safetensors": ".safetensors"}


class SaveAestheticEmbedding(Node):
    """Write an aesthetic embedding as a file that other programs load."""

    synonyms: ClassVar[tuple[str, ...]] = ("aesthetic gradient", "export", "pt")
    side_effects: ClassVar[bool] = True

    filename: FileName = "aesthetic"
    """Name of the file."""
    layout: Literal["A1111", "safetensors"] = "A1111"
    """`A1111` is the bare .pt of AUTOMATIC1111's extension; `safetensors` holds the same vector and the workflow."""

    def run(self, embedding: AestheticEmbedding, context: RunContext) -> tuple[Artifact, ...]:
        from safetensors.torch import load_file

        tensors = load_file(embedding.file)
        if self.layout == "A1111":
            content = diffusion.formats.pt_bytes(tensors["aesthetic_embedding"].float().contiguous())
        else:
            content = diffusion.formats.safetensors_bytes(
                tensors, {METADATA_KEY: context.provenance.text()}, diffusion.formats.tensor_bytes(tensors)
            )
        suffix = SUFFIXES[self.layout]
        known = PurePath(self.filename).suffix in SUFFIXES.values()
        name = (PurePath(self.filename).stem if known else self.filename) + suffix
        return (Artifact(name, context.add_file(suffix, lambda path: path.write_bytes(content))),)
