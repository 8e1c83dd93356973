"""SaveImageEmbedding."""

from typing import ClassVar

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node, with_suffix
from nodes import diffusion
from nodes.diffusion.handles.results import ImageEmbedding


class SaveImageEmbedding(Node):
    """Write CLIP image embeddings as safetensors: `image_embeds` [n, d] in float32, with the workflow that made them."""

    synonyms: ClassVar[tuple[str, ...]] = ("save embedding", "CLIP inversion", "image embeds")
    side_effects: ClassVar[bool] = True

    filename: FileName = "image-embedding.safetensors"
    """Name of the file."""

    def run(self, embedding: ImageEmbedding, context: RunContext) -> tuple[Artifact, ...]:
        from safetensors.torch import load_file

        tensors = {"image_embeds": load_file(embedding.file)["image_embeds"].float()}
        metadata = {"format": "pt", "label": embedding.label, METADATA_KEY: context.provenance.text()}
        content = diffusion.formats.safetensors_bytes(tensors, metadata, diffusion.formats.tensor_bytes(tensors))
        name = with_suffix(self.filename, ".safetensors")
        return (Artifact(name, context.add_file(".safetensors", lambda path: path.write_bytes(content))),)
