"""Custom diffusion files: the same pictures when diffusers loads them, and read back exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.changed_weights import attention_layers, check_places
from nodes.diffusion.adapters.custom_diffusion_files import processor_bytes, read_processors, token_bytes
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.models.active import ActiveModel
from tests.diffusion.test_lora import forward
from tests.diffusion.test_sampling import pipeline
from tests.models import fresh_model, make_model_folder

CPU = torch.device("cpu")


def random_weights(model: ActiveModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    endings = ("attn2.to_k.weight", "attn2.to_v.weight")
    return {
        f"unet.{name}": torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.unet.named_parameters()
        if name.endswith(endings)
    }


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_written_and_read_back_they_are_the_same(tmp_path: Path, family: Any) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", family))
    weights = random_weights(model)
    (tmp_path / "w.bin").write_bytes(processor_bytes(weights, attention_layers(model.parts.folder)))
    read = read_processors(tmp_path / "w.bin")
    assert read.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in read.items())
    check_places(read, model.parts.folder)


def test_diffusers_draws_the_same_with_the_file(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    weights = random_weights(model)
    (tmp_path / "w.bin").write_bytes(processor_bytes(weights, attention_layers(model.parts.folder)))
    save_file(weights, tmp_path / "w.safetensors")
    with apply_adapters([WeightChange(name="x", weights=tmp_path / "w.safetensors")], model):
        ours = forward(model)
    pipe: Any = pipeline(fresh_model(model.parts.folder), "ddim")
    # without the pipeline diffusers 0.42 sets nothing and says nothing
    pipe.unet.load_attn_procs(str(tmp_path), weight_name="w.bin", _pipeline=pipe, use_safetensors=False)
    model.__dict__["unet"] = pipe.unet
    assert torch.allclose(forward(model), ours, atol=1e-5)
    assert not torch.allclose(forward(fresh_model(model.parts.folder)), ours, atol=1e-2)


def test_the_words_file_is_what_diffusers_writes(tmp_path: Path) -> None:
    (tmp_path / "t.bin").write_bytes(token_bytes("<new1>", torch.ones(32)))
    found = torch.load(tmp_path / "t.bin", weights_only=True)
    assert list(found) == ["<new1>"]
    assert found["<new1>"].shape == (32,)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_text("hello")
    torch.save({"a": torch.zeros(1)}, tmp_path / "y.bin")
    for name in ("x.bin", "y.bin"):
        with pytest.raises(InputError) as caught:
            read_processors(tmp_path / name)
        assert caught.value.field == "file"
    with pytest.raises(InputError, match="no place of its size"):
        check_places({"unet.conv_in.weight": torch.zeros(2)}, make_model_folder(tmp_path / "m", "sd1"))
