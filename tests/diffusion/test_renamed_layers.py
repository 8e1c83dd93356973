"""Names of a transformer's layers by rule, and what files make of their rows."""

import pytest
import torch

from nodes.diffusion.families.protocol import Conversion, Counterpart, Rows
from nodes.diffusion.families.tensor_names.renaming import Renamed, RenamedLayers, fused
from nodes.diffusion.formats.single_file.tensors import shape_in_folder, to_folder, write_into

SINGLE = "single_transformer_blocks.*"
NAMES = RenamedLayers(
    (
        *fused("transformer_blocks.*.attn", ("to_q", "to_k", "to_v"), "double_blocks.*.img_attn.qkv"),
        *fused(SINGLE, ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "single_blocks.*.linear1", (1, 1, 1, 4)),
        Renamed("norm_out.linear", "final_layer.adaLN_modulation.1", "swapped"),
        Renamed("transformer_blocks.*.norm_q.weight", "double_blocks.*.norm.query_norm.scale"),
        Renamed("proj_out", "final_layer.linear"),
    )
)


@pytest.mark.parametrize(
    ("ours", "theirs", "conversion"),
    [
        ("transformer_blocks.12.attn.to_k.bias", "double_blocks.12.img_attn.qkv.bias", Rows(1)),
        ("single_transformer_blocks.3.proj_mlp.weight", "single_blocks.3.linear1.weight", Rows(3, (1, 1, 1, 4))),
        ("single_transformer_blocks.3.proj_out.weight", "single_transformer_blocks.3.proj_out.weight", ""),
        ("proj_out.weight", "final_layer.linear.weight", ""),
        ("transformer_blocks.0.norm_q.weight", "double_blocks.0.norm.query_norm.scale", ""),
        ("norm_out.linear.weight", "final_layer.adaLN_modulation.1.weight", "swapped"),
        ("proj_output.weight", "proj_output.weight", ""),
    ],
)
def test_names_there_and_back(ours: str, theirs: str, conversion: Conversion) -> None:
    assert NAMES.to_file(ours) == Counterpart(theirs, conversion)
    assert Counterpart(ours, conversion) in NAMES.to_folder(theirs)


def test_a_fused_layer_holds_all_of_its_parts_in_order() -> None:
    found = NAMES.to_folder("single_blocks.7.linear1.weight")
    assert [one.name.rpartition("single_transformer_blocks.7.")[2] for one in found] == [
        "attn.to_q.weight",
        "attn.to_k.weight",
        "attn.to_v.weight",
        "proj_mlp.weight",
    ]
    stored = torch.arange(14.0).reshape(14, 1)
    parts = [to_folder(stored, one.conversion) for one in found]
    assert [part.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [*range(6, 14)]]
    assert [shape_in_folder((14, 1), one.conversion) for one in found] == [tuple(part.shape) for part in parts]
    again = torch.zeros(14, 1)
    for one, part in zip(found, parts, strict=True):
        write_into(again, part, one.conversion)
    assert again.equal(stored)


def test_swapped_halves_come_back() -> None:
    stored = torch.arange(4.0)
    assert to_folder(stored, "swapped").tolist() == [2, 3, 0, 1]
    again = torch.zeros(4)
    write_into(again, to_folder(stored, "swapped"), "swapped")
    assert again.equal(stored)
