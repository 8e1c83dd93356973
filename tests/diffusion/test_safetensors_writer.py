"""Our safetensors files are the library's, with one order."""

import json

import torch
from safetensors.torch import load

from nodes.diffusion.formats.safetensors_writer import safetensors_bytes, tensor_bytes

TENSORS = {
    "b": torch.arange(3, dtype=torch.float16),
    "a": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T,
    "scalar": torch.tensor(2.5),
    "nothing": torch.zeros(0, 4, dtype=torch.float16),
}


def test_the_library_reads_it() -> None:
    found = load(safetensors_bytes(TENSORS, {"ä": "ü\n"}, tensor_bytes(TENSORS)))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_every_tensor_is_aligned_and_the_order_of_the_mapping_does_not_matter() -> None:
    content = safetensors_bytes(TENSORS, {"z": "1", "a": "2"}, tensor_bytes(TENSORS))
    turned = dict(reversed(TENSORS.items()))
    assert content == safetensors_bytes(turned, {"a": "2", "z": "1"}, tensor_bytes(turned))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert list(header.pop("__metadata__")) == ["a", "z"]
    starts = {name: entry["data_offsets"][0] for name, entry in header.items()}
    assert len(starts) == 4
    assert all(start % TENSORS[name].element_size() == 0 for name, start in starts.items())
