"""The layers of single files by the names that LoRAs know, held to the published architectures."""

import math
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from nodes.diffusion.formats.checkpoint_headers import Entry
from nodes.diffusion.formats.pickles import DTYPE_NAMES
from nodes.diffusion.handles.adapters import ENCODERS
from nodes.diffusion.merging import source_tensors
from nodes.diffusion.merging.lora_layers import layers_in, parameters_in
from tests.published import empty_parts, single_file

FAMILIES = ["sd1", "sd2", "sdxl"]


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_a_published_model_is_found_where_it_lies(family: Any, layout: str) -> None:
    parts = {part: module for part, module in empty_parts(family).items() if part != "vae"}
    layers = {
        f"{ENCODERS.get(part, part)}.{name.removeprefix('text_model.')}": tuple(layer.weight.shape)
        for part, module in parts.items()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and name != "text_projection"
    }
    if layout == "file":
        header = {name: Entry(Path(), DTYPE_NAMES[own.dtype], tuple(own.shape), 0) for name, own in single_file(family).items()}
    else:
        header = {
            f"{part}.{name}": Entry(Path(), "F32", tuple(tensor.shape), 0)
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }
    found = layers_in(header)
    extra = {name for name in found if name not in layers}
    assert all(family == "sd2" and "text_encoder_0.encoder.layers.23." in name for name in extra)  # in files alone, unused
    assert {name: found[name].shape for name in layers} == layers
    rows: dict[str, int] = {}
    for part in parameters_in(header).values():
        rows[part.name] = rows.get(part.name, 0) + math.prod(part.shape)
    assert all(count == header[name].count for name, count in rows.items())


def test_a_vae_in_a_stable_diffusion_file_keeps_its_name_whatever_families_there_are() -> None:
    assert source_tensors.FILE_VAE == "first_stage_model."
