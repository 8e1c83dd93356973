"""LoadImageVariation."""

import shutil
from pathlib import Path
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from graph_runtime.provenance import safetensors_metadata
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.image_variation.folders import UNCLIP_PARTS, VARIATION_PARTS, inspect_variation
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.model_folders import check_whole
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.models import ImageVariationModel
from nodes.models.load_model import BUNDLED

BUNDLED_VARIATIONS = {"loom-emoji-variations": Path(__file__).parent / "loom_emoji_variations"}


class LoadImageVariation(Node):
    """Open a base that is conditioned on a CLIP image embedding: it draws variations of a picture, and CLIP inversion needs it.

    Reads diffusers folders of image variation and Stable unCLIP models, files of SaveImageVariation, and the bundled one by
    its name. Only the descriptions are read here.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("image variations", "unCLIP", "reimagine", "CLIP vision")

    model: ModelReference = "loom-emoji-variations"
    """`loom-emoji-variations`, the small base that comes with the program, a model's folder, or a saved UNet's file."""
    base: ModelReference = "loom-emoji"
    """Where the parts come from that the model lacks, such as VAE and image encoder; a whole folder lacks none."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        found = files.resolve(str(BUNDLED_VARIATIONS.get(self.model, self.model)))
        own = str(found)
        if not found.is_dir() and not (found.is_file() and is_safetensors(found)):
            remedy = f"The bundled one is {' or '.join(BUNDLED_VARIATIONS)}; a folder or a .safetensors file is looked for."
            raise InputError(f"there is no model {self.model!r}.", field="model", remedy=remedy)
        base = str(files.resolve(str(BUNDLED.get(self.base, self.base))))
        sources = {name: own for name in (*VARIATION_PARTS, *UNCLIP_PARTS) if (found / name).is_dir()}
        if not {*VARIATION_PARTS} <= sources.keys():
            sources = {
                name: base for name in (*VARIATION_PARTS, *UNCLIP_PARTS) if (files.resolve(base) / name).is_dir()
            } | sources
        facts = inspect_variation({name: files.resolve(source) / name for name, source in sources.items()})
        if facts.conditioning == "image variation":
            sources = {name: sources[name] for name in VARIATION_PARTS}

        def digest(path: str) -> str:
            return files.digest_folder(path, identifying(files.resolve(path)))

        digests = {source: digest(source) for source in set(sources.values())}
        return {
            "name": self.model if self.model in BUNDLED_VARIATIONS else found.stem,
            "parts": {name: digests[source] for name, source in sources.items()},
            "weights": files.digest_file(own) if found.is_file() else None,
            "vae": digest(f"{sources['vae']}/vae"),
            "clip": [digest(f"{sources[name]}/{name}") for name in ("image_encoder", "feature_extractor")],
        }

    def run(self, context: RunContext) -> ImageVariationModel:
        read = context.fingerprint
        parts: dict[str, str] = read["parts"]
        facts = inspect_variation({name: context.locate(digest) / name for name, digest in parts.items()})
        return ImageVariationModel(
            name=read["name"],
            conditioning=facts.conditioning,
            prediction_type=facts.model.prediction_type,
            resolution=facts.model.resolution,
            embedding_width=facts.embedding_width,
            parts=tuple(parts.items()),
            clip_digest="+".join(read["clip"]),
            vae_digest=read["vae"],
            weights=_copy(context.locate(read["weights"]), context) if read["weights"] else None,
            zero_terminal_snr=bool(read["weights"]) and _says_zero_terminal_snr(context.locate(read["weights"])),
        )


def _says_zero_terminal_snr(file: Path) -> bool:
    return safetensors_metadata(file).get("zero_terminal_snr") == "true"


def _copy(file: Path, context: RunContext) -> Path:
    """Return the file's copy in the cache, where everything lies that a value names by its path."""
    check_whole(file)
    return context.add_file(".safetensors", lambda path: shutil.copyfile(file, path))
