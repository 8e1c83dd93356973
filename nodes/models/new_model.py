"""NewModel."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.model_folders import check_whole, inspect_folder, read_config
from nodes.diffusion.formats.single_file.header import read_single_file
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
    """A trained VAE in place of a random one: `loom-emoji` for the bundled model's, or a VAE's own `.safetensors` file, of the
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
        if not self.vae:
            return digest
        bundled = BUNDLED.get(self.vae)
        file = str(bundled / "vae" / "diffusion_pytorch_model.safetensors") if bundled else self.vae
        self._check_vae(files.resolve(file), read_config(folder / "vae" / "config.json"))
        return {"folder": digest, "vae": files.digest_file(file)}

    def _check_vae(self, file: Path, described: dict[str, Any]) -> None:
        """Raise InputError unless a file holds a VAE of as many channels as the folder describes."""
        if not file.is_file() or not is_safetensors(file):
            remedy = f"Choose a .safetensors file in the workspace, or {' or '.join(BUNDLED)}."
            raise InputError(f"there is no .safetensors file {self.vae!r}.", field="vae", remedy=remedy)
        check_whole(file)
        shapes = read_single_file(file).shapes
        found = next((shape[1] for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")), 0)
        if found != described["latent_channels"]:
            holds = f"a VAE of {found} channels" if found else "no VAE"
            message = f"{file.name} holds {holds}, and {self.model} describes one of {described['latent_channels']}."
            raise InputError(message, field="vae", remedy="Choose the VAE that the folder describes, or leave it empty.")

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
