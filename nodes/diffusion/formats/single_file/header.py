"""What a single-file checkpoint holds, from its header alone: tensors, family, what it predicts. No torch for safetensors."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import pstdev

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import SGM_SD2, TEXT, UNET, VAE
from nodes.diffusion.formats.opening import Stamp, open_regular, stamp_of
from nodes.diffusion.formats.safetensors_header import read_header
from nodes.diffusion.formats.single_file.fp8_scales import check_scale, scales_among
from nodes.diffusion.handles.models import Family, PredictionType

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
STRANGERS = {
    ".joint_blocks.": "Stable Diffusion 3",
    ".double_blocks.": "Flux",
    "lora_unet_": "a LoRA",
    ".lora_A.": "a LoRA",
    "lora_te": "a LoRA",
    "control_model.": "a ControlNet",
    "embedder.model.visual.": "an unCLIP model of SD 2.x, whose diffusers folder LoadImageVariation opens",
    "edm_vpred.sigma": "a model of EDM's noise levels (CosXL)",
    "edm_mean": "a model of EDM's noise levels (Playground)",
}
"""What a file that is none of ours is, by a part of its tensors' names."""
NAMES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}
USED = "SD 1.x, SD 2.x and SDXL can be read, as single files with UNet, VAE and text encoders, or as diffusers folders."
TELLING = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The tensor in which SD2's two kinds of 4 channels differ: its deviation is above 0.09 only where velocity is predicted."""
FIRST = f"{UNET}input_blocks.0.0.weight"


@dataclass(frozen=True)
class SingleFile:
    """Header of a checkpoint."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """As safetensors names them, such as `F16`."""
    starts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Offsets in the file; empty for pickles."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)

    @cached_property
    def scales(self) -> dict[str, str]:
        """Names of the scales of fp8 weights, by the weights' names."""
        return scales_among(self.shapes)

    @property
    def has_moving_average(self) -> bool:
        return self.has("model_ema.diffusion_model")


def is_single_file(path: Path) -> bool:
    """Whether a path names a checkpoint in one file, rather than a folder."""
    return path.suffix.lower() in (".safetensors", *PICKLES) and path.is_file()


def read_single_file(path: Path) -> SingleFile:
    """Return the header of a checkpoint that is whole; the same file is read once."""
    return _read(path, stamp_of(path))


@lru_cache(maxsize=16)
def _read(path: Path, _stamp: Stamp) -> SingleFile:
    if path.suffix.lower() in PICKLES:
        return _read_pickle(path)
    try:
        header, begin = read_header(path)
        metadata = header.pop("__metadata__", {})
        return SingleFile(
            path,
            shapes={name: tuple(facts["shape"]) for name, facts in header.items()},
            dtypes={name: facts["dtype"] for name, facts in header.items()},
            starts={name: begin + facts["data_offsets"][0] for name, facts in header.items()},
            metadata={str(name): str(text) for name, text in metadata.items()},
        )
    except (LookupError, TypeError, AttributeError, ValueError):
        message = f"the header of {path.name} cannot be used."
        raise InputError(message, field="model", remedy="Copy or download it again.") from None


def _read_pickle(path: Path) -> SingleFile:
    from nodes.diffusion.formats.pickles import DTYPE_NAMES, pickled_tensors

    tensors = pickled_tensors(path)
    dtypes = {name: DTYPE_NAMES[tensor.dtype] for name, tensor in tensors.items() if tensor.dtype in DTYPE_NAMES}
    return SingleFile(path, {name: tuple(tensors[name].shape) for name in dtypes}, dtypes)


def family_in(file: SingleFile) -> Family:
    """Return the family that the names tell; raise InputError naming what else it is, or what is missing."""
    kinds = [kind for mark, kind in STRANGERS.items() if any(mark in name for name in file.shapes)]
    if file.shapes.get(f"{SGM_SD2}ln_final.weight") == (1280,):
        kinds.append("the refiner of SDXL")
    if kinds:
        raise InputError(f"{file.path.name} is {kinds[0]}.", field="model", remedy=USED)
    if not file.has(UNET):
        kind = "only a VAE" if file.has(VAE) or file.has("decoder.") else "no Stable Diffusion UNet"
        raise InputError(f"{file.path.name} holds {kind}.", field="model", remedy=USED)
    families: list[Family] = [family for family, parts in TEXT.items() if file.has(next(iter(parts.values()))[0])]
    if file.has(SGM_SD2):
        families = ["sd2"]
    if not families:
        raise InputError(f"{file.path.name} holds no text encoder of a known family.", field="model", remedy=USED)
    family = families[0]
    text = (SGM_SD2,) if file.has(SGM_SD2) else (prefix for prefix, _ in TEXT[family].values())
    missing = [prefix for prefix in (VAE, *text) if not file.has(prefix)]
    if missing:
        message = f"{file.path.name} is {NAMES[family]} and holds no tensors {missing[0]}*."
        raise InputError(message, field="model", remedy="Use a file that has all parts: UNet, VAE and text encoders.")
    _check_scales(file)
    return family


def _check_scales(file: SingleFile) -> None:
    """Raise InputError unless scaled weights are fp8, each with one scale or one for each row."""
    for name, scale in file.scales.items():
        kind, shape = file.dtypes.get(name, "missing"), file.shapes.get(name, ())
        check_scale(f"{file.path.name}: {name}", (kind, shape), (file.dtypes[scale], file.shapes[scale]))


def prediction_in(file: SingleFile, family: Family) -> tuple[PredictionType, str]:
    """Return what a checkpoint predicts, and how that is known."""
    if "v_pred" in file.shapes:
        return "v_prediction", "it has the tensor v_pred"
    for key in ("modelspec.prediction_type", "modelspec.predict_key"):
        if said := file.metadata.get(key, ""):
            return ("v_prediction" if said.startswith("v") else "epsilon"), "its metadata says so"
    text_to_image = len(first := file.shapes.get(FIRST, ())) == 4 and first[1] == 4
    if family == "sd2" and text_to_image and len(file.shapes.get(TELLING, ())) == 1:
        return ("v_prediction" if pstdev(_numbers(file, TELLING)) > 0.09 else "epsilon"), "its weights tell"
    return "epsilon", "nothing in it says otherwise"


def _numbers(file: SingleFile, name: str) -> list[float]:
    """Return the numbers of one tensor, read without torch."""
    if not file.starts:
        from nodes.diffusion.formats.pickles import pickled_tensors

        return pickled_tensors(file.path)[name].tolist()
    count, kind = file.shapes[name][0], file.dtypes[name]
    with open_regular(file.path) as opened:
        opened.seek(file.starts[name])
        size = count * {"F32": 4, "F16": 2, "BF16": 2}.get(kind, 1)
        data = opened.read(size)
    if len(data) < size:
        raise InputError(f"{file.path.name} is cut off in {name}.", field="model", remedy="Copy or download it again.")
    if kind == "F32":
        return list(struct.unpack(f"<{count}f", data))
    if kind == "F16":
        return list(struct.unpack(f"<{count}e", data))
    if kind == "F8_E4M3":
        return [_e4m3(byte) for byte in data]
    if kind == "F8_E5M2":  # the upper halves of fp16
        return list(struct.unpack(f"<{count}e", b"".join(b"\0" + data[n : n + 1] for n in range(count))))
    if kind != "BF16":
        return [0.0]
    wide = b"".join(b"\0\0" + data[place : place + 2] for place in range(0, len(data), 2))
    return list(struct.unpack(f"<{count}f", wide))


def _e4m3(byte: int) -> float:
    """The number of one byte: a sign, 4 bits of exponent and 3 of mantissa."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = mantissa / 8 * 2**-6 if not exponent else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -size if byte >> 7 else size
