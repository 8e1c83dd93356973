"""LoRA files of each program on square and oblong layers of every kind, against what the program itself makes of the weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nodes.diffusion.lora_deltas import weight_change
from nodes.diffusion.lora_reading import LoraFile, read_lora

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "square": lambda: nn.Linear(8, 8),
    "wide": lambda: nn.Linear(8, 12),
    "square_point": lambda: nn.Conv2d(8, 8, 1),
    "wide_point": lambda: nn.Conv2d(8, 12, 1),
    "square_conv": lambda: nn.Conv2d(8, 8, 3),
    "narrow_conv": lambda: nn.Conv2d(12, 8, 3),
}
each_layer = pytest.mark.parametrize("layer", LAYERS)


class Small(nn.Module):
    """One layer of every kind, random."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            for name, make in LAYERS.items():
                self.add_module(name, make())

    def weight(self, name: str) -> Tensor:
        layer: Any = self.get_submodule(name)
        return layer.weight.detach().clone()

    def weights(self) -> dict[str, Tensor]:
        return {f"unet.{name}": self.weight(name) for name in LAYERS}


def read(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], folder: Path, config: Path | None = None) -> LoraFile:
    path = folder / "l.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return read_lora(path, shapes, config)


PEFTS: dict[str, Callable[[], Any]] = {
    "LoRA": lambda: peft.LoraConfig(r=3, lora_alpha=6, target_modules=list(LAYERS), init_lora_weights=False),
    "DoRA": lambda: peft.LoraConfig(r=3, lora_alpha=6, target_modules=list(LAYERS), init_lora_weights=False, use_dora=True),
    "LoHa": lambda: peft.LoHaConfig(r=3, alpha=6, target_modules=list(LAYERS), init_weights=False),
    "LoHa, Tucker": lambda: peft.LoHaConfig(
        r=3, alpha=6, target_modules=list(LAYERS), init_weights=False, use_effective_conv2d=True
    ),
    "LoKr": lambda: peft.LoKrConfig(r=2, alpha=6, target_modules=list(LAYERS), init_weights=False),
    "LoKr, Tucker": lambda: peft.LoKrConfig(
        r=2, alpha=6, target_modules=list(LAYERS), init_weights=False, use_effective_conv2d=True, decompose_factor=2
    ),
}


@pytest.mark.parametrize("kind", PEFTS)
def test_a_folder_of_peft_changes_what_peft_changes(tmp_path: Path, kind: str) -> None:
    small = Small()
    before = small.weights()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        wrapped: Any = peft.get_peft_model(small, PEFTS[kind]())  # pyright: ignore[reportArgumentType]
        for name, parameter in wrapped.named_parameters():
            if "magnitude" in name:  # as if it had been trained
                parameter.data *= 1 + torch.rand(parameter.shape)
    wrapped.save_pretrained(tmp_path)
    wrapped.merge_and_unload()
    shapes = {name: weight.shape for name, weight in before.items()}
    found = read_lora(tmp_path / "adapter_model.safetensors", shapes, tmp_path / "adapter_config.json")
    assert not found.unknown
    for name, weight in before.items():
        change = weight_change(found.layers[name], weight, 1.0)
        merged = small.weight(name.removeprefix("unet."))
        torch.testing.assert_close(weight + change, merged, rtol=0, atol=1e-5, msg=name)


@each_layer
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_lycoris_magnitudes_run_along_the_side_that_their_shape_says(tmp_path: Path, layer: str, side: str) -> None:
    """LyCORIS: m (W + D) / |W + D|, the norm of each input, or of each output with `wd_on_output`."""
    weight, draw = Small().weights()[f"unet.{layer}"], torch.Generator().manual_seed(3)
    outputs, inputs, *kernel = weight.shape
    down, up = torch.randn(3, inputs, *kernel, generator=draw), torch.randn(outputs, 3, *kernel, generator=draw)[..., :1, :1]
    up = up if kernel else torch.randn(outputs, 3, generator=draw)
    own, others = (1, [0, 2, 3]) if side == "inputs" else (0, [1, 2, 3])
    size = [length if axis == own else 1 for axis, length in enumerate(weight.shape)]
    magnitude = 1 + torch.rand(size, generator=draw)
    changed = weight + 2.0 * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    norms = changed.square().sum([axis for axis in others if axis < changed.dim()], keepdim=True).sqrt()
    leaves = {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": magnitude, "alpha": torch.tensor(6.0)}
    name = f"lora_unet_{layer}"
    found = read({f"{name}.{leaf}": tensor for leaf, tensor in leaves.items()}, {f"unet.{layer}": weight.shape}, tmp_path)
    change = weight_change(found.layers[f"unet.{layer}"], weight, 1.0)
    torch.testing.assert_close(weight + change, magnitude * changed / norms, rtol=0, atol=1e-5)
