"""LoadModel."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Component, text_encoders
from nodes.diffusion.families.registry import facts as family_facts
from nodes.diffusion.formats.file_formats import format_of
from nodes.diffusion.formats.model_folders import check_whole, inspect_folder
from nodes.diffusion.formats.opening import open_regular
from nodes.diffusion.formats.single_file.header import SingleFile, check_scales, is_single_file, read_single_file
from nodes.diffusion.formats.vae_identity import vae_identity
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.models import DiffusionModel, ModelInfo, PredictionType, Purpose

BUNDLED = {"loom-emoji": Path(__file__).parent / "loom_emoji"}
PARAMETERIZATION = re.compile(r"^\s*parameterization:\s*[\"']?(v|eps)\b", re.MULTILINE)
SHOWN: dict[Purpose, str] = {
    "inpainting": "it is for inpainting (9 input channels): in training and drawing the mask hides the whole picture.",
    "instruct-pix2pix": "it is InstructPix2Pix (8 input channels): in training and drawing there is no picture to edit.",
}
PREDICTED: dict[PredictionType, str] = {
    "epsilon": "noise",
    "v_prediction": "velocity",
    "flow": "the velocity of a rectified flow",
}
DISTILLED = (
    "it is distilled: it draws in 4 to 8 steps with guidance_scale 1, which a LoRA that is trained on it alone undoes. Train on "
    "the base model and draw with this one, or put a training adapter below: LoadLoRA, BakeLoRA, AsModel, InjectLoRA."
)


class LoadModel(Node):
    """Open a model: SD 1.x, SD 2.x, SDXL, Z-Image or FLUX.2 klein, in one file or a diffusers folder, or the bundled one.

    Only the descriptions are read here; weights are loaded by the nodes that need them. Models for inpainting (9 input channels)
    and InstructPix2Pix (8) are trained and draw from text alone: an inpainting model is shown a mask that hides the whole
    picture, and what it hides is grey; InstructPix2Pix is shown no picture (zeros). The files that are written keep all channels.
    """

    synonyms: ClassVar[tuple[str, ...]] = (
        "checkpoint",
        "base model",
        "diffusers",
        "single file",
        "safetensors",
        "ckpt",
        "inpainting",
    )

    model: ModelReference = "loom-emoji"
    """`loom-emoji`, the small model that comes with the program, or a model in the workspace: a `.safetensors` or `.ckpt`
    file as AUTOMATIC1111 and ComfyUI use it, or a diffusers folder; `.bin` files in it are read where no
    `.safetensors` are."""
    clip_skip: Annotated[int, Field(ge=0, le=11)] = 0
    """Layers dropped from the end of the text encoder; 0 is what the model was trained with."""
    max_token_length: Annotated[int, Field(ge=75, le=225, multiple_of=75)] = 75
    """Tokens that captions and prompts may have: 75, 150 or 225. A text encoder sees 75 at once; with more, every text goes
    through it in that many chunks of 75, short ones too, as kohya trains; each step takes a little longer."""
    prediction_type: Annotated[
        Literal["automatic", "epsilon", "v_prediction"], Field(json_schema_extra={"group": "Single file"})
    ] = "automatic"
    """What the UNet predicts: noise or velocity. Files do not always say it, nor has every one a .yaml file beside it that does;
    when pictures are only noise, say it here."""
    moving_average: Annotated[bool, Field(json_schema_extra={"group": "Single file"})] = False
    """Use the moving average of the UNet's weights that some single files hold beside them (EMA)."""

    text_encoder: Annotated[ModelReference, Field(json_schema_extra={"group": "Files apart"})] = ""
    """The text encoder's file, such as `qwen_3_4b.safetensors` (FLUX.2 klein 9B: `qwen_3_8b.safetensors`), where `model` is a
    file that holds the transformer alone."""
    vae: Annotated[ModelReference, Field(json_schema_extra={"group": "Files apart"})] = ""
    """The VAE's file, such as `ae.safetensors` or `flux2-vae.safetensors`, where `model` is a file that holds none."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        reference = str(BUNDLED.get(self.model, self.model))
        place = files.resolve(reference)
        if not place.exists():
            remedy = f"The bundled model is {' or '.join(BUNDLED)}; a file or folder is looked for in the workspace."
            raise InputError(f"there is no model {self.model!r}.", field="model", remedy=remedy)
        _refuse_gguf(place, "model")
        if place.is_file() and not is_single_file(place):
            remedy = "Give a .safetensors or .ckpt file, or a diffusers folder."
            raise InputError(f"{place.name} is no model.", field="model", remedy=remedy)
        kind = format_of(place)
        # opening a pickle takes torch, so run does it
        info = self._checked(place) if place.is_dir() or kind is None or kind.is_safetensors else None
        name = self.model if self.model in BUNDLED else place.stem if place.is_file() else place.name
        if info is None or place.is_file():
            digest = files.digest_file(reference)
            said = _said_beside(files.beside(reference, PurePath(reference).with_suffix(".yaml").name))
            found: dict[str, Any] = {
                "name": name,
                "folder": digest,
                "vae": f"{digest} vae",
                "text": [f"{digest} text"],
                "said_beside": said,
            }
            if apart := self._files_apart(info, place, files):
                found |= {"files": apart, **({"vae": apart["vae"]} if "vae" in apart else {})}
                found |= {"text": [apart["text_encoder"]]} if "text_encoder" in apart else {}
            return found
        for field in self._given():
            remedy = "Leave it empty, or choose the file of the transformer as the model."
            raise InputError("a folder holds all of its parts.", field=field, remedy=remedy)
        return {
            "name": name,
            "folder": files.digest_folder(reference, identifying(place)),
            "vae": files.digest_folder(f"{place}/vae", identifying(place / "vae")),
            "text": [files.digest_folder(f"{place}/{part}", identifying(place / part)) for part in info.text_parts],
        }

    def known(self, files: OutsideFiles) -> Json:
        place = files.resolve(str(BUNDLED.get(self.model, self.model)))
        kind = format_of(place)
        if place.is_file() and kind and not kind.is_safetensors:
            return None
        info = inspect_folder(place, weights=False)
        return {"family": info.family, "prediction_type": info.prediction_type}

    def _given(self) -> dict[Component, str]:
        """The files apart that are named."""
        named: dict[Component, str] = {"text_encoder": self.text_encoder, "vae": self.vae}
        return {component: file for component, file in named.items() if file}

    def _files_apart(self, info: ModelInfo | None, place: Path, files: OutsideFiles) -> dict[str, str]:
        """Return the digests of files that give what the model's lacks; raise InputError for one that is missing or another's."""
        given = self._given()
        if info is None:
            return {}
        family = family_facts(info.family)
        for component in family.missing_components(read_single_file(place).shapes):
            if component not in given:
                message = f"{place.name} holds no {component.replace('_', ' ').replace('vae', 'VAE')}."
                remedy = f"Choose its file in {component}, or use the diffusers folder."
                raise InputError(message, field=component, remedy=remedy)
        for component, reference in given.items():
            part = files.resolve(reference)
            _refuse_gguf(part, component)
            if not is_single_file(part):
                message = f"there is no file {reference!r} of weights."
                raise InputError(message, field=component, remedy="Choose a .safetensors file in the workspace.")
            check_whole(part)
            check_scales(read_single_file(part))
            family.check_part(component, read_single_file(part))
        return {component: files.digest_file(reference) for component, reference in given.items()}

    def _checked(self, place: Path) -> ModelInfo:
        """Return what a model says of itself; raise InputError when the fields do not fit to it."""
        info = inspect_folder(place)
        if self.clip_skip > info.max_clip_skip:
            message = f"{self.model} has too few text-encoder layers to drop {self.clip_skip}."
            raise InputError(message, field="clip_skip", remedy=f"The most is {info.max_clip_skip}.")
        if self.moving_average and not (place.is_file() and read_single_file(place).has_moving_average):
            remedy = "Turn it off, or use the file that is called ema or full."
            raise InputError(f"{self.model} holds no moving average.", field="moving_average", remedy=remedy)
        if self.prediction_type != "automatic" and info.prediction_type == "flow":
            message = f"{self.model} predicts {PREDICTED[info.prediction_type]}, so nothing else can be chosen."
            raise InputError(message, field="prediction_type", remedy="Choose automatic.")
        return info

    def run(self, context: RunContext) -> DiffusionModel:
        digests: Any = context.fingerprint
        place = context.locate(digests["folder"])
        info = self._checked(place)
        vae_digest = digests["vae"]
        said = digests.get("said_beside") if info.prediction_type != "flow" else None
        if said:
            info = replace(info, prediction_type=said)
        if place.is_file():
            context.message(_found(read_single_file(place), info, "the .yaml file beside it says so" if said else ""))
            vae_digest = vae_identity(place) or vae_digest if "files" not in digests else vae_digest
        if info.purpose in SHOWN:
            context.message(SHOWN[info.purpose])
        if info.distilled:
            context.message(DISTILLED)
        return DiffusionModel(
            digest=digests["folder"],
            name=digests["name"],
            family=info.family,
            prediction_type=info.prediction_type if self.prediction_type == "automatic" else self.prediction_type,
            resolution=info.resolution,
            vae_digest=vae_digest,
            text_digest=_text_identity(info, digests["text"]),
            clip_skip=self.clip_skip,
            max_token_length=self.max_token_length,
            zero_terminal_snr=info.zero_terminal_snr,
            moving_average=self.moving_average,
            files=tuple(digests.get("files", {}).items()),
            info=info,
        )


def _refuse_gguf(place: Path, field: str) -> None:
    if place.suffix.lower() == ".gguf":
        remedy = "Use the bf16 or fp8 .safetensors file of the same model."
        raise InputError(f"{place.name} is GGUF, whose weights are too coarse to train on.", field=field, remedy=remedy)


def _text_identity(info: ModelInfo, digests: list[str]) -> str:
    """Return what text embeddings depend on: two families may read the same language model in different ways."""
    joined = "+".join(digests)
    return joined if text_encoders(family_facts(info.family)) else f"{info.family} {joined}"


def _said_beside(config: Path | None) -> str | None:
    """Return what a model predicts by the configuration that AUTOMATIC1111 takes from beside a checkpoint, if there is one."""
    if config is None:
        return None
    with open_regular(config) as file:
        found = PARAMETERIZATION.search(file.read(100_000).decode(errors="replace"))
    return {"v": "v_prediction", "eps": "epsilon"}[found[1]] if found else None


def _found(file: SingleFile, info: ModelInfo, said_beside: str) -> str:
    """Return what a single file turned out to be."""
    numbers = " and ".join(kind for kind, _ in Counter(file.dtypes.values()).most_common(2)).lower()
    numbers += ", fp8 weights with scales" if file.scales else ""
    family = family_facts(info.family)
    reason = said_beside or family.prediction_of(file)[1]
    kind = PREDICTED[info.prediction_type]
    average = ", with a moving average of the UNet" if file.has_moving_average else ""
    return f"{family.title}, {info.resolution} pixels, {numbers}{average}; it predicts {kind}: {reason}."
