"""LoadModel."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from nodes.diffusion.errors import InputError
from nodes.diffusion.folders import inspect_folder
from nodes.diffusion.values import DiffusionModel

BUNDLED = {"loom-emoji": Path(__file__).parent / "loom_emoji"}
PARTS = (".json", ".txt", ".safetensors")


class LoadModel(Node):
    """Open a Stable Diffusion model: SD 1.x, SD 2.x or SDXL in a diffusers folder, or the bundled one by its name.

    Only the descriptions are read here; weights are loaded by the nodes that need them.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("checkpoint", "base model", "diffusers")

    model: ModelReference = "loom-emoji"
    """`loom-emoji`, the small model that comes with the program, or a model's folder in the workspace."""
    clip_skip: Annotated[int, Field(ge=0, le=11)] = 0
    """Layers dropped from the end of the text encoder; 0 is what the model was trained with."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        reference = str(BUNDLED.get(self.model, self.model))
        folder = files.resolve(reference)
        if folder.is_file():
            remedy = "Give a diffusers folder; single-file checkpoints are not read yet."
            raise InputError(f"{self.model} is a file.", field="model", remedy=remedy)
        if not folder.is_dir():
            remedy = f"The bundled model is {' or '.join(BUNDLED)}; a folder is looked for in the workspace."
            raise InputError(f"there is no model {self.model!r}.", field="model", remedy=remedy)
        facts = inspect_folder(folder)
        if self.clip_skip > facts.max_clip_skip:
            message = f"{self.model} has too few text-encoder layers to drop {self.clip_skip}."
            raise InputError(message, field="clip_skip", remedy=f"The most is {facts.max_clip_skip}.")
        return {
            "name": self.model if self.model in BUNDLED else folder.name,
            "folder": files.digest_folder(reference, PARTS),
            "vae": files.digest_folder(f"{reference}/vae", PARTS),
            "text": [files.digest_folder(f"{reference}/{part}", PARTS) for part in facts.text_parts],
        }

    def run(self, context: RunContext) -> DiffusionModel:
        digests = context.fingerprint
        folder = context.locate(digests["folder"])
        facts = inspect_folder(folder)
        return DiffusionModel(
            digest=digests["folder"],
            name=digests["name"],
            family=facts.family,
            prediction_type=facts.prediction_type,
            resolution=facts.resolution,
            vae_digest=digests["vae"],
            text_digest="+".join(digests["text"]),
            clip_skip=self.clip_skip,
        )
