"""SaveEmbedding."""

import hashlib
from pathlib import PurePath
from typing import ClassVar, Literal

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.wired_models import refuse_bare, refuse_untrained

SUFFIXES = {"safetensors": ".safetensors", "A1111": ".pt", "diffusers": ".safetensors"}


class SaveEmbedding(Node):
    """Write the trained words of a model, each as a file that other programs load.

    A negative embedding (DreamArtist) is written beside the positive one, as `NAME-neg`.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save textual inversion", "export embedding", "emb_params", "pt")
    side_effects: ClassVar[bool] = True

    filename: FileName = "embedding"
    """Name of the file, which other programs take as the word. Further words are named by their placeholder."""
    layout: Literal["safetensors", "A1111", "diffusers"] = "safetensors"
    """`A1111` is the older .pt.

    Embedding (safetensors): AUTOMATIC1111, ComfyUI and sd-scripts; diffusers reads it when `token=` names the word.
    Embedding (A1111): AUTOMATIC1111, ComfyUI, sd-scripts and diffusers.
    Embedding (diffusers): AUTOMATIC1111, ComfyUI and diffusers; sd-scripts not checked."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        refuse_bare(wired["model"], "this model has learned no new word.", "Wire the model as TrainTI returns it.")

    def run(self, model: DiffusionModel, context: RunContext) -> tuple[Artifact, ...]:
        words = [adapter for adapter in model.adapters if isinstance(adapter, TokenEmbedding)]
        if not words:
            remedy = "Wire the model as TrainTI or TrainDreamArtist returns it."
            raise InputError("this model has learned no new word.", field="model", remedy=remedy)
        if any(word.weights is None for word in words):
            raise InputError("this embedding has not been trained.", field="model", remedy="Wire the trained model here.")
        first = PurePath(self.filename).stem
        names = [first, *(f"{first}-neg" if word.negative else word.plain_name for word in words[1:])]
        if len(set(names)) < len(names):
            raise InputError("two words would get one file name.", field="filename", remedy="Choose another name.")
        return tuple(self._written(word, name, model, context) for word, name in zip(words, names, strict=True))

    def _written(self, word: TokenEmbedding, name: str, model: DiffusionModel, context: RunContext) -> Artifact:
        suffix = SUFFIXES[self.layout]
        if self.layout == "A1111":
            content = diffusion.adapters.a1111_embedding(word, name, model, context.provenance.text())
        else:
            tensors = diffusion.adapters.file_tensors(
                word, model.family, token=word.placeholder_token if self.layout == "diffusers" else None
            )
            data = diffusion.formats.tensor_bytes(tensors)
            given = {
                "title": name,
                "trigger_phrase": name,
                "is_negative_embedding": "true" if word.negative else "",
                "usage_hint": diffusion.adapters.usage_hint(word, name),
            }
            architecture = diffusion.adapters.architecture_of(model, context.locate(model.digest))
            metadata = diffusion.adapters.modelspec_metadata(
                model, given, architecture, hashlib.sha256(data).hexdigest(), "textual-inversion"
            )
            if self.layout == "diffusers":
                metadata["format"] = "pt"
            content = diffusion.formats.safetensors_bytes(tensors, {**metadata, METADATA_KEY: context.provenance.text()}, data)
        return Artifact(f"{name}{suffix}", context.add_file(suffix, lambda path: path.write_bytes(content)))
