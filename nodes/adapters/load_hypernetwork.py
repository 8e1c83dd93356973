"""LoadHypernetwork."""

from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel


class LoadHypernetwork(Node):
    """Lay a hypernetwork over a model that was trained before, by this program, AUTOMATIC1111 or NovelAI."""

    synonyms: ClassVar[tuple[str, ...]] = ("HypernetworkLoader", "hypernet", "style file")

    file: WorkspaceFile
    """A hypernetwork's .pt file. It is opened so that it cannot carry code."""
    strength: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """How much it acts; 0 is the model alone, below 0 it acts the other way round."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not files.resolve(self.file).is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose a hypernetwork's .pt file.")
        return {"file": files.digest_file(self.file), "name": PurePath(self.file).stem}

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        from safetensors.torch import save_file

        names = diffusion.adapters.attention_names(context.locate(model.digest))
        form, tensors = diffusion.adapters.read_hypernetwork(context.locate(context.fingerprint["file"]), names)
        weights = context.add_file(".safetensors", lambda path: save_file(tensors, path))
        loaded = replace(form, name=context.fingerprint["name"], strength=self.strength, weights=weights)
        return replace(model, adapters=(*model.adapters, loaded))
