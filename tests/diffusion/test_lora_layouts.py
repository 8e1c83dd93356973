"""LoRA files of each program on square and oblong layers of every kind, against what the program itself makes of the weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nodes.diffusion.adapters.lora.algorithms import weight_change
from nodes.diffusion.adapters.lora.read import LoraFile, read_lora
from nodes.diffusion.errors import InputError

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
    return read_lora(path, shapes, "sd1", config)


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
    found = read_lora(tmp_path / "adapter_model.safetensors", shapes, "sd1", tmp_path / "adapter_config.json")
    assert not found.unknown
    for name, weight in before.items():
        change = weight_change(found.layers[name], weight, found.scales[name])
        merged = small.weight(name.removeprefix("unet."))
        torch.testing.assert_close(weight + change, merged, rtol=0, atol=1e-5, msg=name)


def lora(shape: torch.Size, draw: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """kohya's pair, with kohya's 1x1 convolution behind a convolution; alpha 6, rank 3."""
    outputs, inputs, *kernel = shape
    down, up = torch.randn(3, inputs, *kernel, generator=draw), torch.randn(outputs, 3, generator=draw)
    product = torch.einsum("or,ri...->oi...", up, down)
    return {"lora_down.weight": down, "lora_up.weight": up.reshape(outputs, 3, *(1 for _ in kernel))}, 2 * product


def loha(shape: torch.Size, draw: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    sizes = {"a": (shape[0], 3), "b": (3, shape[1:].numel())}
    leaves = {f"hada_w{n}_{side}": torch.randn(size, generator=draw) for n in (1, 2) for side, size in sizes.items()}
    one, two = (torch.einsum("or,ri->oi", leaves[f"hada_w{n}_a"], leaves[f"hada_w{n}_b"]) for n in (1, 2))
    return leaves, (2 * one * two).reshape(shape)


def lokr(shape: torch.Size, draw: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    outputs, inputs, *kernel = shape
    small, large_a = torch.randn(2, 4, generator=draw), torch.randn(outputs // 2, 3, generator=draw)
    large_b = torch.randn(3, inputs // 4 * shape[2:].numel(), generator=draw)
    large = torch.einsum("or,ri->oi", large_a, large_b).reshape(outputs // 2, inputs // 4, *kernel)
    product = torch.einsum("ab,cd...->acbd...", small, large).reshape(shape)
    return {"lokr_w1": small, "lokr_w2_a": large_a, "lokr_w2_b": large_b}, 2 * product


@pytest.mark.parametrize("kind", [lora, loha, lokr], ids=lambda kind: kind.__name__)
def test_kohya_s_and_lycoris_products_fit_every_layer(
    tmp_path: Path, kind: Callable[..., tuple[dict[str, Tensor], Tensor]]
) -> None:
    weights, draw = Small().weights(), torch.Generator().manual_seed(7)
    tensors: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for name, weight in weights.items():
        leaves, expected[name] = kind(weight.shape, draw)
        tensors |= {f"lora_{name.replace('.', '_')}.{leaf}": t for leaf, t in (leaves | {"alpha": torch.tensor(6.0)}).items()}
    found = read(tensors, {name: weight.shape for name, weight in weights.items()}, tmp_path)
    for name, weight in weights.items():
        change = weight_change(found.layers[name], weight, found.scales[name])
        torch.testing.assert_close(change, expected[name], rtol=0, atol=1e-5, msg=name)


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
    change = weight_change(found.layers[f"unet.{layer}"], weight, found.scales[f"unet.{layer}"])
    torch.testing.assert_close(weight + change, magnitude * changed / norms, rtol=0, atol=1e-5)


def golden_glora(leaves: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """LyCORIS: scale (b1 b2 + W a1 a2), a over the inputs of each place of the kernel."""
    product = torch.einsum("or,rihw->oihw", leaves["b1"], leaves["b2"])
    seen = torch.einsum("oihw,ir,rj->ojhw", weight, leaves["a1"], leaves["a2"])
    return 0.5 * (product + seen)


@each_layer
@pytest.mark.parametrize("turned", [False, True], ids=["today's", "first files"])
def test_glora_adds_a_product_and_one_with_the_weight(tmp_path: Path, layer: str, turned: bool) -> None:
    weight, draw = Small().weights()[f"unet.{layer}"], torch.Generator().manual_seed(4)
    outputs, inputs, *kernel = weight.shape
    if turned and kernel == [3, 3]:
        pytest.skip("the first files have linear layers")
    sizes = {"a1": (inputs, 4), "a2": (4, inputs), "b1": (outputs, 4), "b2": (4, inputs, *kernel)}
    leaves = {name: torch.randn(size, generator=draw) for name, size in sizes.items()}
    wide = {**leaves, "b2": leaves["b2"].reshape(4, inputs, *(kernel or (1, 1)))}
    expected = golden_glora(wide, weight.reshape(outputs, inputs, *(kernel or (1, 1)))).reshape(weight.shape)
    names = dict(zip(sizes, ("a2", "a1", "b2", "b1") if turned else sizes, strict=True))
    tensors = {f"lora_unet_{layer}.{names[name]}.weight": tensor for name, tensor in leaves.items()}
    found = read({**tensors, f"lora_unet_{layer}.alpha": torch.tensor(2.0)}, {f"unet.{layer}": weight.shape}, tmp_path)
    change = weight_change(found.layers[f"unet.{layer}"], weight, found.scales[f"unet.{layer}"])
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-5)


@each_layer
@pytest.mark.parametrize("on_input", [False, True], ids=["outputs", "inputs"])
def test_ia3_multiplies_the_weight_along_the_side_that_the_file_says(tmp_path: Path, layer: str, on_input: bool) -> None:
    weight, draw = Small().weights()[f"unet.{layer}"], torch.Generator().manual_seed(5)
    vector = torch.randn(weight.shape[1 if on_input else 0], generator=draw)
    tensors = {f"lora_unet_{layer}.weight": vector[None], f"lora_unet_{layer}.on_input": torch.tensor(on_input)}
    found = read(tensors, {f"unet.{layer}": weight.shape}, tmp_path)
    expected = torch.stack(
        [own * (vector if on_input else vector[n]).reshape(-1, *([1] * (weight.dim() - 2))) for n, own in enumerate(weight)]
    )
    torch.testing.assert_close(weight_change(found.layers[f"unet.{layer}"], weight, 1.0), expected, rtol=0, atol=1e-6)


WRONG: dict[str, dict[str, Any]] = {
    "middle of another kernel": {
        "lora_down.weight": (2, 12, 1, 1), "lora_up.weight": (8, 2, 1, 1), "lora_mid.weight": (2, 2, 1, 9),
    },
    "middle that would fill the memory": {
        "lora_down.weight": (1, 12, 1, 1), "lora_up.weight": (8, 2, 1, 1), "lora_mid.weight": (1, 1, 3000, 3000),
    },
    "middle of another rank": {
        "lora_down.weight": (1, 12, 1, 1), "lora_up.weight": (8, 2, 1, 1), "lora_mid.weight": (300_000, 1, 3, 3),
    },
    "outer side turned round": {"lora_down.weight": (2, 12, 3, 3), "lora_up.weight": (2, 8)},
    "kernel of another shape": {"lora_down.weight": (2, 12, 1, 9), "lora_up.weight": (8, 2, 1, 1)},
    "LoHa's middle": {
        "hada_w1_a": (2, 8), "hada_w1_b": (2, 12), "hada_t1": (2, 2, 9, 1),
        "hada_w2_a": (2, 8), "hada_w2_b": (2, 12), "hada_t2": (2, 2, 9, 1),
    },
    "LoKr's large factor": {"lokr_w1": (4, 4), "lokr_w2": (2, 3, 1, 9)},
    "LoKr's factors beyond the layer": {"lokr_w1": (300, 300), "lokr_w2": (300, 300)},
    "magnitude": {"lora_down.weight": (2, 12, 3, 3), "lora_up.weight": (8, 2, 1, 1), "dora_scale": (1, 8, 1, 1)},
    "GLoRA's inputs": {"a1.weight": (5, 2), "a2.weight": (2, 5), "b1.weight": (8, 2), "b2.weight": (2, 12, 3, 3)},
    "two kinds": {"diff": (8, 12, 3, 3), "set_weight": (8, 12, 3, 3)},
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_tensors_that_disagree_with_the_layer_are_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    tensors = {f"lora_unet_narrow_conv.{leaf}": torch.zeros(shape, dtype=torch.float16) for leaf, shape in WRONG[kind].items()}
    with pytest.raises(InputError, match=r"unet\.narrow_conv") as caught:
        read(tensors, {"unet.narrow_conv": torch.Size([8, 12, 3, 3])}, tmp_path)
    assert caught.value.field == "file"
    assert caught.value.remedy
