"""Changed weights: in place while they are wanted, the very same parameters afterwards."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter, WeightChange
from nodes.diffusion.models.active import ActiveModel
from tests.diffusion.test_lora import forward
from tests.models import fresh_model, make_model_folder, random_adapter

CPU = torch.device("cpu")


def parameters(model: ActiveModel) -> dict[str, int]:
    return {name: id(tensor) for part in (model.unet, *model.text_encoders) for name, tensor in part.named_parameters()}


@pytest.fixture
def model(tmp_path: Path) -> ActiveModel:
    return fresh_model(make_model_folder(tmp_path / "m", "sd1"))


def change(model: ActiveModel, path: Path, factor: float = 2.0) -> WeightChange:
    """A trained change of the first convolution."""
    save_file({"unet.conv_in.weight": factor * model.unet.conv_in.weight.detach().clone()}, path)
    return WeightChange(name="x", weights=path)


def test_they_act_and_go(model: ActiveModel, tmp_path: Path) -> None:
    before, base = parameters(model), forward(model)
    with apply_adapters([change(model, tmp_path / "w.safetensors")], model):
        assert not torch.equal(forward(model), base)
    with pytest.raises(RuntimeError, match="stop"), apply_adapters([change(model, tmp_path / "w.safetensors")], model):
        raise RuntimeError("stop")
    assert parameters(model) == before
    assert torch.equal(forward(model), base)


def test_a_lora_lies_over_changed_weights_in_any_order(model: ActiveModel, tmp_path: Path) -> None:
    target = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    save_file({f"unet.{target}.weight": torch.randn(32, 32)}, tmp_path / "w.safetensors")
    changed = WeightChange(name="x", weights=tmp_path / "w.safetensors")
    lora = random_adapter(model.parts.folder, tmp_path / "l.safetensors", text_encoder=False)
    assert isinstance(lora, LowRankAdapter)
    with apply_adapters([changed, lora], model):
        first = forward(model)
    with apply_adapters([lora, changed], model):
        assert torch.equal(forward(model), first)
    with apply_adapters([lora], model):
        assert not torch.equal(forward(model), first)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_untrained_they_equal_the_model_and_can_be_trained(tmp_path: Path, family: Any) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", family))
    base = forward(model)
    with apply_adapters([WeightChange(name="x", text_encoder=True)], model) as applied:
        assert torch.equal(forward(model), base)
        assert all(tensor.dtype == torch.float32 for tensor in applied[0].values())
        assert sum(name.startswith("unet.") for name in applied[0]) == len(list(model.unet.parameters()))
    with apply_adapters([WeightChange(name="x", endings=("attn2.to_k.weight", "attn2.to_v.weight"))], model) as applied:
        layers = sum(name.endswith(".attn2") for name, _ in model.unet.named_modules())
        assert len(applied[0]) == 2 * layers


@pytest.mark.parametrize("tensors", [{"unet.nowhere.weight": (2, 2)}, {"unet.conv_in.weight": (2, 2)}, {"vae.x": (1,)}])
def test_weights_without_a_place_are_named(model: ActiveModel, tmp_path: Path, tensors: dict[str, Any]) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "w.safetensors")
    name = next(iter(tensors))
    with (
        pytest.raises(InputError, match=name),
        apply_adapters([WeightChange(name="x", weights=tmp_path / "w.safetensors")], model),
    ):
        pass
