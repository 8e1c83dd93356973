"""NewModel."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.handles.models import DiffusionModel
from nodes.models.load_model import BUNDLED

DESCRIPTIONS = (".json", ".txt")


class NewModel(Node):
    """Begin a model from nothing: the architecture and tokenizer of a diffusers folder, all weights drawn at random.

    Train its VAE (TrainVAE), its CLIP (TrainCLIP) and its UNet (FineTune), in this order, and write it with SavePipeline.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("from scratch", "random weights", "pretraining", "initialize")

    model: ModelReference = "loom-emoji"
    """Whose architecture it has: a folder of descriptions (`config.json` and tokenizer files); weights in it are not read."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Draws the weights."""
    vae: ModelReference = ""
    """A trained VAE in place of a random one: `loom-emoji` for the bundled model's, or a `.safetensors` file with a VAE of the
    size that the folder describes. Left empty, the VAE is drawn too."""

    added_fields: ClassVar[frozenset[str]] = frozenset({"vae"})

    def fingerprint(self, files: OutsideFiles) -> Json:
        reference = str(BUNDLED.get(self.model, self.model))
        folder = files.resolve(reference)
        if not folder.is_dir():
            remedy = f"Name a diffusers folder in the workspace, or {' or '.join(BUNDLED)}."
            raise InputError(f"there is no folder {self.model!r}.", field="model", remedy=remedy)
        inspect_folder(folder, weights=False)
        digest = files.digest_folder(reference, DESCRIPTIONS)
        return {"folder": digest, "vae": files.digest_file(self._vae_file(files))} if self.vae else digest

    def _vae_file(self, files: OutsideFiles) -> str:
        if self.vae in BUNDLED:
            return str(BUNDLED[self.vae] / "vae" / "diffusion_pytorch_model.safetensors")
        if not is_single_file(files.resolve(self.vae)):
            remedy = f"Choose a .safetensors file in the workspace, or {' or '.join(BUNDLED)}."
            raise InputError(f"there is no file {self.vae!r} of weights.", field="vae", remedy=remedy)
        return self.vae

    def run(self, context: RunContext) -> DiffusionModel:
        found: Any = context.fingerprint
        digest, vae = (found["folder"], found["vae"]) if self.vae else (found, "")
        info = inspect_folder(context.locate(digest), weights=False)
        drawn = f"{digest} {self.seed}"
        return DiffusionModel(
            digest=digest,
            name="new model",
            family=info.family,
            prediction_type=info.prediction_type,
            zero_terminal_snr=info.zero_terminal_snr,
            resolution=info.resolution,
            vae_digest=vae or drawn,
            text_digest=drawn,
            initial_seed=self.seed,
            files=(("vae", vae),) if vae else (),
            info=info,
        )
