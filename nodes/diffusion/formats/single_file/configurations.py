"""Configurations of a single file's parts in diffusers' form, from the package or from the file's own metadata."""

import json
import re
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Facts
from nodes.diffusion.families.registry import part_folders
from nodes.diffusion.formats.opening import Stamp, stamp_of
from nodes.diffusion.formats.process_folder import process_folder
from nodes.diffusion.formats.single_file.header import SingleFile, family_in, is_single_file, read_single_file

METADATA_NAME = "latentloom.descriptions"
"""The metadata key of models with no published architecture: JSON of path and text."""


OWN_FILE = re.compile(r"(\w+)/\w+(\.\w+)*")
"""Allowed names of a part's file, none of which leads out of the folder."""
DEFAULTS = {
    "norm_num_groups": 32,
    "use_linear_projection": False,
    "transformer_layers_per_block": 1,
    "addition_embed_type": None,
    "class_embed_type": None,
    "latents_mean": None,
    "act_fn": "silu",
}
"""Diffusers' defaults."""
COMPARED = {
    *DEFAULTS, "block_out_channels", "down_block_types", "up_block_types", "layers_per_block", "cross_attention_dim",
    "attention_head_dim", "addition_time_embed_dim", "latent_channels", "scaling_factor", "vocab_size", "hidden_size",
    "num_hidden_layers", "num_attention_heads", "hidden_act", "beta_start", "beta_end", "beta_schedule", "num_train_timesteps",
}  # fmt: skip
"""Settings by which models of the same shapes compute different results."""


def described(place: Path) -> Path:
    """Return the diffusers folder that describes a checkpoint: itself, or for a single file one made of configurations alone."""
    if not is_single_file(place):
        return place
    stamp = stamp_of(place)
    made = _made(place, stamp)
    if not made.is_dir():  # some systems delete old temporary files
        _made.cache_clear()
        made = _made(place, stamp)
    return made


def description_of(path: Path) -> Path:
    """Return the path of a configuration on the disk; `model.safetensors/unet/config.json` names one of a single file."""
    for parent in path.parents:
        if is_single_file(parent):
            return described(parent) / path.relative_to(parent)
    return path


@lru_cache(maxsize=16)
def _made(place: Path, _stamp: Stamp) -> Path:
    folder = Path(tempfile.mkdtemp(dir=process_folder()))
    for name, text in _texts(read_single_file(place)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def _texts(file: SingleFile) -> dict[str, str]:
    family = family_in(file)
    if METADATA_NAME in file.metadata:
        texts = _own_texts(file)
    else:
        texts = {name: json.dumps(config) for name, config in family.configurations(file).items()}
    for tokenizer in [name.split("/")[0] for name in texts if name.endswith("/tokenizer_config.json")]:
        if f"{tokenizer}/vocab.json" not in texts:
            texts |= {f"{tokenizer}/{name}": text for name, text in family.vocabulary().items()}
    return texts


def _own_texts(file: SingleFile) -> dict[str, str]:
    try:
        texts = json.loads(file.metadata[METADATA_NAME])
        if not all(_is_own_file(name) and isinstance(text, str) for name, text in texts.items()):
            raise ValueError
        return texts
    except (ValueError, AttributeError, RecursionError):
        message = f"{file.path.name} has a damaged description in its metadata."
        raise InputError(message, field="model", remedy="Copy or download it again.") from None


def _is_own_file(name: str) -> bool:
    found = OWN_FILE.fullmatch(name)
    return name == "model_index.json" or (found is not None and found[1] in part_folders())


def own_descriptions(files: Mapping[str, str], family: Facts) -> dict[str, str]:
    """Return a folder's files that differ from the family's published ones; none for a published model.

    `files` holds the texts of the folder by path; the family's own vocabulary is never returned.
    """
    configs = {name: json.loads(text) for name, text in files.items() if name.endswith("config.json")}
    expected = family.published()
    vocabulary = json.loads(family.vocabulary()["vocab.json"])
    tokenizers = [name.split("/")[0] for name in files if name.endswith("/tokenizer_config.json")]
    foreign = [name for name in tokenizers if json.loads(files.get(f"{name}/vocab.json", "{}")) != vocabulary]
    if not foreign and all(_same(configs.get(name, {}), config) for name, config in expected.items()):
        return {}
    texts = {name: text for name, text in files.items() if name.endswith("config.json") and name.split("/")[0] in part_folders()}
    return texts | {name: text for name, text in files.items() if name.split("/")[0] in foreign}


def _same(config: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether a configuration describes the published layers; sizes of pictures and prediction type may differ."""
    return all(
        _spread(config.get(name, DEFAULTS.get(name))) == _spread(value)
        for name, value in {**DEFAULTS, **expected}.items()
        if name in COMPARED and (name in expected or name in config)
    )


def _spread(value: object) -> Any:
    """Return a value with equal lists reduced to their number, as one number holds for every block."""
    return value[0] if isinstance(value, list) and value and all(one == value[0] for one in value) else value
