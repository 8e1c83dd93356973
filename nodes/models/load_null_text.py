"""LoadNullText."""

from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.results import NullTextInversion


class LoadNullText(Node):
    """Read a null-text inversion that SaveNullText wrote. It works with the model that it was made with."""

    synonyms: ClassVar[tuple[str, ...]] = ("load inversion", "null-text inversion")

    file: WorkspaceFile
    """The safetensors file, in the workspace."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not files.resolve(self.file).is_file():
            remedy = "Give a file that SaveNullText wrote, relative to the workspace."
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy=remedy)
        return files.digest_file(self.file)

    def run(self, context: RunContext) -> NullTextInversion:
        from safetensors.torch import save_file

        tensors, metadata = diffusion.sampling.read_file(context.locate(context.fingerprint))
        facts = diffusion.sampling.facts_from(tensors, metadata)
        uncond = {"uncond": tensors.pop("uncond")}
        return NullTextInversion(
            file=context.add_file(".safetensors", lambda path: save_file(tensors, path)),
            uncond=context.add_file(".safetensors", lambda path: save_file(uncond, path)),
            picture=None,
            **facts,
        )
