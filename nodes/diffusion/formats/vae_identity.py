"""The identity of the VAE in a single file, by its content, so that files with the same VAE share latents. No torch."""

import hashlib
import json
import math
from pathlib import Path

from nodes.diffusion.families.registry import file_prefixes
from nodes.diffusion.formats.checkpoint_headers import BYTES
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.formats.opening import open_regular
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.formats.single_file.header import read_single_file

WEIGHTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
WITHOUT_EFFECT = ("_", "sample_size")
"""Prefixes of configuration keys that do not affect what the VAE computes."""
BLOCK = 2**20


def vae_identity(place: Path) -> str:
    """Return the sha256 of the configuration and weights of a checkpoint's VAE; empty for a pickle."""
    file = read_single_file(place)
    if not file.starts:
        return ""
    config = read_config(described(place) / "vae" / "config.json")
    settings = {name: value for name, value in config.items() if not name.startswith(WITHOUT_EFFECT)}
    hasher = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    weights = tuple(prefix + part for prefix in file_prefixes("vae") for part in WEIGHTS)
    with open_regular(place) as opened:
        for name in sorted(name for name in file.shapes if name.startswith(weights)):
            kind, shape = file.dtypes[name], file.shapes[name]
            hasher.update(f"\0{name} {kind} {shape}\0".encode())
            opened.seek(file.starts[name])
            left = BYTES[kind] * math.prod(shape)
            while block := opened.read(min(left, BLOCK)):
                hasher.update(block)
                left -= len(block)
    return hasher.hexdigest()
