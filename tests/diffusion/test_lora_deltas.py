"""The LoRA family against plain lines of torch: what each adds to a weight, how it begins, which tensors learn at once."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.algorithms import begin, empty_leaves, split, weight_change
from nodes.diffusion.adapters.lora.apply import adapter_tensors, by_layer
from nodes.diffusion.adapters.lora.targets import text_encoder_targets, unet_targets
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.text.encoding import encode_prompts
from tests.diffusion.test_lora import FAMILIES, forward, identities, open_model
from tests.models import handle, make_model_folder, random_adapter

ALGORITHMS = ["lora", "locon", "loha", "lokr", "dora", "rslora"]
SHAPES = [(24, 40), (24, 40, 1, 1), (24, 40, 3, 3)]
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def adapter_of(algorithm: Any, **fields: Any) -> LowRankAdapter:
    return LowRankAdapter(**{"algorithm": algorithm, "rank": 4, "alpha": 6.0, "factor": 4, "unet_targets": ()} | fields)


def drawn(adapter: LowRankAdapter, weight: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in empty_leaves(adapter, weight).items()}


def golden(algorithm: str, leaves: dict[str, Tensor], weight: Tensor) -> Tensor:
    """W' - W by its definition, number by number where that is short."""
    kernel = weight.shape[2:]
    if algorithm == "loha":
        one, two = (torch.einsum("or,ri->oi", leaves[f"hada_w{n}_a"], leaves[f"hada_w{n}_b"]) for n in (1, 2))
        return (1.5 * one * two).reshape(weight.shape)
    if algorithm == "lokr":
        small = leaves["lokr_w1"]
        large = (leaves["lokr_w2_a"] @ leaves["lokr_w2_b"]).reshape(24 // small.shape[0], 40 // small.shape[1], *kernel)
        return 1.5 * torch.cat([torch.cat([number * large for number in row], dim=1) for row in small], dim=0)
    scale = 6 / math.sqrt(4) if algorithm == "rslora" else 6 / 4
    product = torch.einsum("or,ri...->oi...", leaves["lora_B.weight"].flatten(1), leaves["lora_A.weight"])
    if algorithm != "dora":
        return scale * product
    changed = weight + scale * product
    columns = [changed[:, n] / changed[:, n].norm() * leaves["dora_scale"].flatten()[n] for n in range(40)]
    return torch.stack(columns, dim=1) - weight


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_algorithm
def test_the_change_is_the_papers(algorithm: str, shape: tuple[int, ...]) -> None:
    adapter, weight = adapter_of(algorithm), torch.randn(shape, generator=torch.Generator().manual_seed(2))
    leaves = drawn(adapter, weight)
    torch.testing.assert_close(
        weight_change(leaves, weight, adapter.scale), golden(algorithm, leaves, weight), rtol=1e-5, atol=1e-5
    )


def test_a_magnitude_along_outputs_is_normed_by_rows() -> None:
    """As PEFT and today's LyCORIS write it, divided by the norm of the changed weight."""
    weight = torch.randn(24, 40, 3, 3, generator=torch.Generator().manual_seed(2))
    leaves = drawn(adapter_of("lora"), weight) | {"dora_scale": torch.rand(24, 1, 1, 1)}
    changed = weight + 1.5 * torch.einsum("or,rihw->oihw", leaves["lora_B.weight"].flatten(1), leaves["lora_A.weight"])
    rows = torch.stack([row / row.norm() * scale for row, scale in zip(changed, leaves["dora_scale"].flatten(), strict=True)])
    torch.testing.assert_close(weight_change(leaves, weight, 1.5), rows - weight, rtol=1e-5, atol=1e-5)


def test_two_whole_factors_are_not_scaled() -> None:
    weight = torch.zeros(24, 40)
    leaves = {"lokr_w1": torch.randn(4, 5), "lokr_w2": torch.randn(6, 8)}
    assert torch.equal(weight_change(leaves, weight, 100.0), torch.kron(leaves["lokr_w1"], leaves["lokr_w2"]))


def test_factors_are_as_files_expect() -> None:
    assert [split(size, 8) for size in (320, 7, 12, 3, 1280)] == [(8, 40), (1, 7), (3, 4), (1, 3), (8, 160)]
    assert set(empty_leaves(adapter_of("lokr", rank=3), torch.zeros(24, 40))) == {"lokr_w1", "lokr_w2_a", "lokr_w2_b"}
    assert set(empty_leaves(adapter_of("lokr", rank=5), torch.zeros(24, 40))) == {"lokr_w1", "lokr_w2"}
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_leaves(adapter_of("lokr"), torch.zeros(24, 40, 3, 3)).items()}
    assert shapes == {"lokr_w1": (4, 4), "lokr_w2_a": (6, 4), "lokr_w2_b": (4, 90)}
    assert empty_leaves(adapter_of("dora"), torch.ones(24, 40, 3, 3))["dora_scale"].shape == (1, 40, 1, 1)


STILL_AT_FIRST = {
    "lora": {"lora_A.weight"},
    "locon": {"lora_A.weight"},
    "rslora": {"lora_A.weight"},
    "dora": {"lora_A.weight"},
    "loha": {"hada_w1_a", "hada_w1_b", "hada_w2_b"},
    "lokr": {"lokr_w1", "lokr_w2_a"},
}
"""Tensors whose gradient is 0 at the first step, because what they are multiplied by begins at 0."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_algorithm
def test_it_begins_with_no_change_and_only_known_tensors_wait(algorithm: str, shape: tuple[int, ...]) -> None:
    adapter, weight = adapter_of(algorithm), torch.randn(shape, generator=torch.Generator().manual_seed(2))
    leaves = empty_leaves(adapter, weight)
    generator = torch.Generator().manual_seed(3)
    for name in sorted(leaves):
        begin(name, leaves[name], generator)
        leaves[name].requires_grad_(True)
    target = torch.randn(shape, generator=generator)
    for step in (1, 2):
        change = weight_change(leaves, weight, adapter.scale)
        assert step == 2 or not change.any()
        gradients = torch.autograd.grad((change - target).square().sum(), list(leaves.values()))
        still = {name for name, gradient in zip(leaves, gradients, strict=True) if not gradient.any()}
        assert still == (STILL_AT_FIRST[algorithm] if step == 1 else set())
        leaves = {
            name: (tensor - 1e-3 * gradient).detach().requires_grad_(True)
            for (name, tensor), gradient in zip(leaves.items(), gradients, strict=True)
        }


def test_first_values_have_the_usual_deviations() -> None:
    leaves = empty_leaves(adapter_of("loha", rank=64), torch.zeros(256, 256))
    for name in leaves:
        begin(name, leaves[name], torch.Generator().manual_seed(0))
    deviations = {name: float(tensor.std()) for name, tensor in leaves.items()}
    assert deviations == pytest.approx({"hada_w1_a": 0.1, "hada_w1_b": 1, "hada_w2_a": 0, "hada_w2_b": 1}, rel=0.05)


def family_adapter(folder: Path, algorithm: Any, file: Path | None, **fields: Any) -> LowRankAdapter:
    """An adapter of any algorithm over UNet and text encoders, trained (its values random) when it has a file."""
    convolutions = algorithm not in ("lora", "rslora")
    adapter = adapter_of(
        algorithm,
        rank=2,
        alpha=3.0,
        unet_targets=unet_targets(handle(folder), folder, "attention and feed-forward", convolutions=convolutions),
        text_encoder_targets=text_encoder_targets(handle(folder), folder, "attention"),
        **fields,
    )
    if file is None:
        return adapter
    generator = torch.Generator().manual_seed(5)
    with apply_adapters([adapter], open_model(folder)) as applied:
        moved = {name: tensor + torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in applied[0].items()}
    save_file(moved, file)
    return replace(adapter, weights=file)


@pytest.mark.parametrize("family", FAMILIES)
@each_algorithm
def test_it_acts_stacks_and_leaves_the_very_same_modules(tmp_path: Path, family: str, algorithm: str) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    model = open_model(folder)
    before, base, text = identities(model), forward(model), encode_prompts(model, ["a cat"])["hidden"]
    weights = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    one = family_adapter(folder, algorithm, tmp_path / "a")
    two = random_adapter(folder, tmp_path / "b")
    with apply_adapters([replace(one, weights=None)], model):
        assert torch.equal(forward(model), base)
    results: list[Tensor] = []
    for adapters in ([one], [one, two], [two, one], [one, two, one]):
        with apply_adapters(adapters, model):
            results.append(forward(model))
            assert not torch.allclose(encode_prompts(model, ["a cat"])["hidden"], text, atol=1e-4)
        assert identities(model) == before
    assert not torch.allclose(results[0], base, atol=1e-3)
    assert not torch.allclose(results[0], results[1], atol=1e-3)
    assert not torch.allclose(results[1], results[3], atol=1e-3)
    torch.testing.assert_close(results[1], results[2], rtol=0, atol=1e-4)
    with pytest.raises(RuntimeError, match="stop"), apply_adapters([one, two], model):
        raise RuntimeError("stop")
    assert identities(model) == before
    assert torch.equal(forward(model), base)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.unet.state_dict().items())


@each_algorithm
def test_strength_mixes_between_the_model_and_the_whole_change(tmp_path: Path, algorithm: str) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    model, reference = open_model(folder), open_model(folder)
    adapter = family_adapter(folder, algorithm, tmp_path / "a", unet_strength=0.3)
    layers = by_layer(adapter_tensors(adapter))
    with torch.no_grad():
        for name in adapter.unet_targets:
            layer = reference.unet.get_submodule(name)
            layer.weight += 0.3 * weight_change(layers[f"unet.{name}"], layer.weight, adapter.scale)
    with apply_adapters([adapter], model):
        torch.testing.assert_close(forward(model), forward(reference), rtol=0, atol=1e-4)
