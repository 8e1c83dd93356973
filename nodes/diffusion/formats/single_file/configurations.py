"""Descriptions of a single file's parts, as a diffusers folder has them: from the package, or from the file's own metadata."""

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.stable_diffusion.facts import tensor_names
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import UNET
from nodes.diffusion.families.vocabularies.clip import tokenizer_files
from nodes.diffusion.formats.opening import Stamp, stamp_of
from nodes.diffusion.formats.single_file.header import (
    NAMES,
    USED,
    SingleFile,
    family_in,
    is_single_file,
    prediction_in,
    read_single_file,
)
from nodes.diffusion.handles.models import Family

ARCHITECTURES = Path(tensor_names.__file__).parent / "published"
METADATA_NAME = "latentloom.descriptions"
"""Metadata of files that hold a model of no published architecture: JSON of path and text."""


OWN_FILE = re.compile(r"(unet|vae|text_encoder(_2)?|tokenizer(_2)?|scheduler)/\w+(\.\w+)*")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
DEFAULTS = {
    "norm_num_groups": 32,
    "use_linear_projection": False,
    "transformer_layers_per_block": 1,
    "addition_embed_type": None,
    "class_embed_type": None,
    "latents_mean": None,
    "act_fn": "silu",
}
"""What diffusers takes where a configuration is silent."""
COMPARED = {
    *DEFAULTS, "block_out_channels", "down_block_types", "up_block_types", "layers_per_block", "cross_attention_dim",
    "attention_head_dim", "addition_time_embed_dim", "latent_channels", "scaling_factor", "vocab_size", "hidden_size",
    "num_hidden_layers", "num_attention_heads", "hidden_act", "beta_start", "beta_end", "beta_schedule", "num_train_timesteps",
}  # fmt: skip
"""What makes two models of the same shapes compute different things."""


def published(family: Family) -> dict[str, Any]:
    """Return the published configurations of a family, by path in a diffusers folder."""
    return json.loads((ARCHITECTURES / f"{family}.json").read_text(encoding="utf-8"))


def described(place: Path) -> Path:
    """Return the diffusers folder that describes a checkpoint: itself, or, for a single file, one made of descriptions alone."""
    if not is_single_file(place):
        return place
    stamp = stamp_of(place)
    made = _made(place, stamp)
    if not made.is_dir():  # some systems empty their folder for temporary files
        _made.cache_clear()
        made = _made(place, stamp)
    return made


def description_of(path: Path) -> Path:
    """Return where a description lies on the disk: `model.safetensors/unet/config.json` names one of a single file."""
    for parent in path.parents:
        if is_single_file(parent):
            return described(parent) / path.relative_to(parent)
    return path


@lru_cache(maxsize=16)
def _made(place: Path, _stamp: Stamp) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="latentloom-described-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in _texts(read_single_file(place)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def _texts(file: SingleFile) -> dict[str, str]:
    family = family_in(file)
    texts = _own_texts(file) if METADATA_NAME in file.metadata else _published_texts(file, family)
    for tokenizer in [name.split("/")[0] for name in texts if name.endswith("/tokenizer_config.json")]:
        if f"{tokenizer}/vocab.json" not in texts:
            texts |= {f"{tokenizer}/{name}": text for name, text in tokenizer_files().items()}
    return texts


def _published_texts(file: SingleFile, family: Family) -> dict[str, str]:
    configs = published(family)
    _check_architecture(file, family, configs["unet/config.json"])
    _follow(configs, file, family)
    return {name: json.dumps(config) for name, config in configs.items()}


def _own_texts(file: SingleFile) -> dict[str, str]:
    try:
        texts = json.loads(file.metadata[METADATA_NAME])
        if not all(OWN_FILE.fullmatch(name) and isinstance(text, str) for name, text in texts.items()):
            raise ValueError
        return texts
    except (ValueError, AttributeError, RecursionError):
        message = f"{file.path.name} has a damaged description in its metadata."
        raise InputError(message, field="model", remedy="Copy or download it again.") from None


def _check_architecture(file: SingleFile, family: Family, unet: Mapping[str, Any]) -> None:
    """Raise InputError unless the UNet has the published width, context and number of blocks."""
    first = file.shapes.get(f"{UNET}input_blocks.0.0.weight", ())
    first = first if len(first) == 4 else (0,)
    keys = (shape for name, shape in file.shapes.items() if name.endswith("attn2.to_k.weight"))
    context = next((shape[1] for shape in keys if len(shape) == 2), 0)
    blocks = len({name.split(".")[3] for name in file.shapes if name.startswith(f"{UNET}input_blocks.")})
    channels = unet["block_out_channels"]
    found, expected = (
        (first[0], context, blocks),
        (channels[0], unet["cross_attention_dim"], (unet["layers_per_block"] + 1) * len(channels)),
    )
    if found != expected:
        message = (
            f"{file.path.name} has the names of {NAMES[family]}, but {found[0]} channels, texts of width {found[1]} and "
            f"{found[2]} input blocks where {expected[0]}, {expected[1]} and {expected[2]} are published."
        )
        raise InputError(message, field="model", remedy=USED)


def _follow(configs: dict[str, Any], file: SingleFile, family: Family) -> None:
    """Let the configurations say what is this file's own: channels, what it predicts, from which noise, at which size."""
    unet, scheduler = configs["unet/config.json"], configs["scheduler/scheduler_config.json"]
    unet["in_channels"] = file.shapes[f"{UNET}input_blocks.0.0.weight"][1]
    scheduler["prediction_type"], _ = prediction_in(file, family)
    if family == "sd2" and scheduler["prediction_type"] == "v_prediction":
        unet["sample_size"] = 96  # 768 pixels; the model of 512 predicts noise
    if "ztsnr" in file.shapes:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def own_descriptions(files: Mapping[str, str], family: Family) -> dict[str, str]:
    """Return those files of a folder that a reader of the family's single files could not know; none when it is published.

    `files` holds the texts of the folder by path; CLIP's own vocabulary is never among what is returned.
    """
    configs = {name: json.loads(text) for name, text in files.items() if name.endswith("config.json")}
    expected = published(family)
    vocabulary = json.loads(tokenizer_files()["vocab.json"])
    tokenizers = [name.split("/")[0] for name in files if name.endswith("/tokenizer_config.json")]
    foreign = [name for name in tokenizers if json.loads(files.get(f"{name}/vocab.json", "{}")) != vocabulary]
    if not foreign and all(_same(configs.get(name, {}), config) for name, config in expected.items()):
        return {}
    texts = {name: text for name, text in files.items() if name.endswith("config.json") and name.split("/")[0] in PARTS}
    return texts | {name: text for name, text in files.items() if name.split("/")[0] in foreign}


def _same(config: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether a configuration describes the published layers; sizes of pictures and what is predicted may differ."""
    return all(
        _spread(config.get(name, DEFAULTS.get(name))) == _spread(value)
        for name, value in {**DEFAULTS, **expected}.items()
        if name in COMPARED and (name in expected or name in config)
    )


def _spread(value: Any) -> Any:
    """A number that holds for every block is the same as a list of it."""
    return value[0] if isinstance(value, list) and value and all(one == value[0] for one in value) else value
