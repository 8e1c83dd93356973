"""LoadAestheticEmbedding."""

from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.results import AestheticEmbedding


class LoadAestheticEmbedding(Node):
    """Read an aesthetic embedding that was made before, by this program or AUTOMATIC1111's extension."""

    synonyms: ClassVar[tuple[str, ...]] = ("aesthetic gradient", "fantasy.pt", "style vector")

    file: WorkspaceFile
    """A .pt or .safetensors file that holds one vector."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not files.resolve(self.file).is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose an aesthetic embedding.")
        return files.digest_file(self.file)

    def run(self, context: RunContext) -> AestheticEmbedding:
        from safetensors.torch import save_file

        embedding = diffusion.adapters.read_embedding(context.locate(context.fingerprint))
        tensors = {"aesthetic_embedding": embedding}
        return AestheticEmbedding(context.add_file(".safetensors", lambda path: save_file(tensors, path)), embedding.shape[1])
