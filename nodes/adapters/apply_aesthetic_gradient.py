"""ApplyAestheticGradient."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Known, ModelReference, Node, OutsideFiles
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.formats.clip_folders import check_clip_is_stored, clip_folders, clip_reference
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.adapters import AestheticGradient
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.results import AestheticEmbedding


class ApplyAestheticGradient(Node):
    """Draw prompts in the look of an aesthetic embedding (Gallego 2022).

    At sampling a copy of the text encoder is tuned for each prompt, until its text lies nearer to the look; negative prompts
    and the model itself stay as they are.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("aesthetic embedding", "style", "CLIP guidance")

    steps: Annotated[int, Field(ge=1, le=1000)] = 5
    """Optimizer steps for each prompt: more follow the look further and the prompt less."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Size of a step (Adam); 1e-4 is usual. Smaller steps, and more of them, keep more of the prompt."""
    blend: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the tuned encoding in what is drawn; 1 takes it alone, 0 is the model without it."""
    clip: ModelReference = ""
    """Folder of the CLIP model whose text encoder this model uses; needed when the model's own lacks a text projection."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not self.clip:
            return None
        folder = files.resolve(clip_reference(self.clip))
        clip_folders(folder)
        return files.digest_folder(clip_reference(self.clip), identifying(folder))

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "aesthetic gradient")

    def run(self, model: DiffusionModel, embedding: AestheticEmbedding, context: RunContext) -> DiffusionModel:
        check_method(model.family, "aesthetic gradient")
        if any(isinstance(adapter, AestheticGradient) for adapter in model.adapters):
            raise InputError("this model has an aesthetic gradient already.", field="model", remedy="Give it one.")
        from safetensors.torch import load_file, save_file

        if not context.fingerprint:
            check_clip_is_stored(model)
        clip = context.locate(context.fingerprint) if context.fingerprint else None
        projection, width = diffusion.adapters.projection_for(context.locate(model.digest), clip)
        if width != embedding.width:
            message = f"the embedding is {embedding.width} wide; this model's text encoder gives {width}."
            raise InputError(message, field="embedding", remedy="Build it with the CLIP that the model was made with.")
        tensors = {"aesthetic_embedding": load_file(embedding.file)["aesthetic_embedding"]}
        if projection is not None:
            tensors["text_projection"] = projection
        gradient = AestheticGradient(
            steps=self.steps,
            learning_rate=self.learning_rate,
            blend=self.blend,
            weights=context.add_file(".safetensors", lambda path: save_file(tensors, path)),
        )
        return replace(model, adapters=(*model.adapters, gradient))
