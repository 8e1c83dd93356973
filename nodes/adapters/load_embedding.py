"""LoadEmbedding."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.migration import Migration
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.models import DiffusionModel

LONGEST = 75
"""Tokens of a prompt between its start and its end."""


class LoadEmbedding(Node):
    """Let prompts use a word that was trained before, by this program or another one."""

    synonyms: ClassVar[tuple[str, ...]] = ("textual inversion", "load TI", "embedding file")
    migrations: ClassVar[Mapping[int, Migration]] = {0: Migration(inputs={"placeholder": "placeholder_token"})}

    file: WorkspaceFile
    """A textual-inversion file: .safetensors, .pt or .bin of AUTOMATIC1111, ComfyUI, kohya, OneTrainer or diffusers."""
    placeholder_token: Annotated[str, Field(pattern=r"^[^\s,]*$")] = ""
    """The word that prompts write; empty takes the file's name."""
    negative: bool = False
    """It belongs into negative prompts."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not files.resolve(self.file).is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose a textual-inversion file.")
        return {"file": files.digest_file(self.file), "name": PurePath(self.file).stem}

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        from safetensors.torch import save_file

        vectors = diffusion.adapters.read_vectors(context.locate(context.fingerprint["file"]))
        diffusion.adapters.check_widths(vectors, model, context.locate(model.digest))
        if len(vectors[0]) > LONGEST:
            context.message(f"a prompt holds {LONGEST} of the word's {len(vectors[0])} vectors; the others are cut.", "warning")
        named = {f"text_encoder_{number}": tensor.contiguous() for number, tensor in enumerate(vectors)}
        word = TokenEmbedding(
            placeholder_token=self.placeholder_token or "".join(context.fingerprint["name"].split()),
            num_vectors=len(vectors[0]),
            negative=self.negative,
            weights=context.add_file(".safetensors", lambda path: save_file(named, path)),
        )
        return replace(model, adapters=(*model.adapters, word))
