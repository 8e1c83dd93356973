"""What a model folder or a single file holds, read from JSON files and weight headers alone; needs no torch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.config_bounds import MAX_CONFIG_BYTES, check_depth
from nodes.diffusion.formats.opening import open_regular
from nodes.diffusion.formats.safetensors_header import read_header
from nodes.diffusion.formats.single_file.configurations import described, description_of
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.formats.weight_files import check_pickle, weight_files
from nodes.diffusion.handles.models import DiffusionModel, ModelInfo, PredictionType, Purpose

LAYOUT = "A diffusers folder has model_index.json and the folders unet, vae, text_encoder, tokenizer and scheduler."
AGAIN = "Copy or download it again."
READ = "Read are UNets of 4 input channels (text-to-image), 9 (inpainting) and 8 (InstructPix2Pix)."

Count = Annotated[int, Field(gt=0, le=2**20)]


class UNetConfig(BaseModel):
    """What is read of unet/config.json; diffusers' defaults where it is silent."""

    sample_size: Count | Annotated[list[Count], Field(min_length=1)] | None = None
    in_channels: Count = 4
    use_linear_projection: bool = False
    class_embed_type: str | None = None


class VAEConfig(BaseModel):
    block_out_channels: Annotated[list[Count], Field(min_length=1, max_length=8)]
    latent_channels: Count = 4


class _TextEncoder(BaseModel):
    num_hidden_layers: Count = 12


class _Scheduler(BaseModel):
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False


Config = TypeVar("Config", bound=BaseModel)


def inspect_folder(place: Path, *, weights: bool = True) -> ModelInfo:
    """Return the facts of a diffusers folder or a single file; raise InputError when a part is missing, damaged or a pickle.

    Without `weights`, a folder's descriptions are enough.
    """
    if is_single_file(place):
        weights = False  # they are in the file, whose names have told the family
        if place.suffix.lower() == ".safetensors":
            check_whole(place)
    folder = described(place)
    second = ("tokenizer_2", "text_encoder_2") if (folder / "text_encoder_2").is_dir() else ()
    encoders = ("text_encoder", *second[1:])
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler", *second):
        if not (folder / part).is_dir():
            raise InputError(f"{place.name} has no folder {part!r}.", field="model", remedy=LAYOUT)
    unet, vae = read_as(folder / "unet" / "config.json", UNetConfig), read_as(folder / "vae" / "config.json", VAEConfig)
    layers = min(read_as(folder / part / "config.json", _TextEncoder).num_hidden_layers for part in encoders)
    if weights:
        for part in ("unet", "vae", *encoders):
            check_weights(folder / part)
    if unet.class_embed_type == "projection":
        remedy = "Open its diffusers folder with LoadImageVariation."
        raise InputError(f"{place.name} is an unCLIP model: it draws from an image embedding.", field="model", remedy=remedy)
    return ModelInfo(
        family="sdxl" if second else "sd2" if unet.use_linear_projection else "sd1",
        prediction_type=prediction_type_of(folder),
        zero_terminal_snr=read_as(folder / "scheduler" / "scheduler_config.json", _Scheduler).rescale_betas_zero_snr,
        purpose=_purpose(place, unet.in_channels, vae.latent_channels),
        resolution=side_of(unet) * 2 ** (len(vae.block_out_channels) - 1),
        text_parts=("tokenizer", "text_encoder", *second),
        max_clip_skip=max(0, layers - (2 if second else 1)),  # SDXL leaves the last layer out even without clip skip
    )


def info_of(model: DiffusionModel, folder: Path) -> ModelInfo:
    """Return what a handle says of its model; for one that is silent, cached by an earlier version, the folder is inspected."""
    return replace(model.info or inspect_folder(folder, weights=False), prediction_type=model.prediction_type)


def _purpose(place: Path, channels: int, latents: int) -> Purpose:
    """What the channels of a UNet beside the noisy latents are for; raise InputError for those that cannot be filled."""
    known: dict[int, Purpose] = {latents: "text-to-image", 2 * latents + 1: "inpainting", 2 * latents: "instruct-pix2pix"}
    if channels in known:
        return known[channels]
    others = {latents + 1: "a depth-to-image model", latents + 3: "an upscaling model"}
    message = (
        f"{place.name} is {others.get(channels, 'no model that is known')}: "
        f"its UNet takes {channels} channels where the VAE gives {latents}."
    )
    raise InputError(message, field="model", remedy=READ)


def read_config(path: Path) -> dict[str, Any]:
    """Return a JSON configuration, a single file's too; raise InputError naming it when it is missing or damaged."""
    path = description_of(path)
    name = f"{path.parent.name}/{path.name}"
    try:
        with open_regular(path) as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        config = json.loads(text.decode()) if len(text) <= MAX_CONFIG_BYTES else None
    except FileNotFoundError:
        raise InputError(f"{name} is missing.", field="model", remedy=LAYOUT) from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.", field="model", remedy=AGAIN) from None
    except (ValueError, RecursionError):
        raise InputError(f"{name} is not valid JSON.", field="model", remedy=AGAIN) from None
    if not isinstance(config, dict):
        wrong = "too long to be a configuration" if len(text) > MAX_CONFIG_BYTES else "not a JSON object"
        raise InputError(f"{name} is {wrong}.", field="model", remedy=AGAIN)
    check_depth(config, name)
    return config


def read_as(path: Path, kind: type[Config]) -> Config:
    """Return what is needed of a JSON configuration; raise InputError naming what cannot be used."""
    try:
        return kind.model_validate(read_config(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"][:1])
        message = f"{path.parent.name}/{path.name}: {place} cannot be used: {first['msg']}."
        raise InputError(message, field="model", remedy=AGAIN) from None


def prediction_type_of(folder: Path) -> PredictionType:
    """Return what the model around a scheduler predicts."""
    kind = read_as(folder / "scheduler" / "scheduler_config.json", _Scheduler).prediction_type
    if kind == "epsilon" or kind == "v_prediction":
        return kind
    raise InputError(f"the scheduler predicts {kind!r}; epsilon or v_prediction is needed.", field="model")


def side_of(unet: UNetConfig) -> int:
    """Return the side of the latents that a UNet was trained on."""
    size = unet.sample_size or 64
    return size if isinstance(size, int) else max(size)


def check_weights(part: Path) -> None:
    """Raise InputError unless every weight file is a whole safetensors file or a pickle of tensors alone."""
    files = weight_files(part)
    if not files:
        remedy = "Copy its .safetensors or .bin files there."
        raise InputError(f"{part.name} holds no weights.", field="model", remedy=remedy)
    for file in files:
        try:
            (check_pickle if file.suffix == ".bin" else check_whole)(file)
        except OSError as error:
            message = f"{part.name}/{file.name} cannot be read: {error.strerror}."
            raise InputError(message, field="model", remedy=AGAIN) from None


def check_whole(file: Path) -> None:
    """Raise InputError when a safetensors file is damaged or cut off."""
    if _stated_size(file) != file.stat().st_size:
        message = f"{file.parent.name}/{file.name} is not a whole safetensors file: it is damaged or cut off."
        raise InputError(message, field="model", remedy=AGAIN)


def _stated_size(file: Path) -> int | None:
    """Return the bytes that a safetensors file's header promises, None where there is no header."""
    try:
        header, begin = read_header(file)
        return begin + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, LookupError):
        return None
