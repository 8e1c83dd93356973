"""Published configurations of Stable Diffusion models, and those of a single file that is built like them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import TensorFile
from nodes.diffusion.families.registry import readable
from nodes.diffusion.families.stable_diffusion.facts.parts import FIRST_LAYER, UNET

PUBLISHED = Path(__file__).parent / "published"


def published(family: str) -> dict[str, Any]:
    """Return the published configurations of a family, by path in a diffusers folder."""
    return json.loads((PUBLISHED / f"{family}.json").read_text(encoding="utf-8"))


def check_architecture(file: TensorFile, title: str, unet: Mapping[str, Any]) -> None:
    """Raise InputError unless the UNet has the published width, context and number of blocks."""
    first = file.shapes.get(FIRST_LAYER, ())
    first = first if len(first) == 4 else (0,)
    keys = (shape for name, shape in file.shapes.items() if name.endswith("attn2.to_k.weight"))
    context = next((shape[1] for shape in keys if len(shape) == 2), 0)
    blocks = len({name.split(".")[3] for name in file.shapes if name.startswith(f"{UNET}input_blocks.")})
    channels = unet["block_out_channels"]
    found = (first[0], context, blocks)
    expected = (channels[0], unet["cross_attention_dim"], (unet["layers_per_block"] + 1) * len(channels))
    if found != expected:
        message = (
            f"{file.path.name} has the names of {title}, but {found[0]} channels, texts of width {found[1]} and "
            f"{found[2]} input blocks where {expected[0]}, {expected[1]} and {expected[2]} are published."
        )
        raise InputError(message, field="model", remedy=readable())
