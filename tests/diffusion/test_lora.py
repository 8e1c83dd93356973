"""Adapters: where they go, how they begin, and that they leave no trace."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.apply import adapter_tensors
from nodes.diffusion.adapters.lora.targets import text_encoder_targets, unet_targets
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.encoding import encode_prompts
from tests.models import BUNDLED, WIDTH, fresh_model, handle, make_model_folder, random_adapter

FAMILIES = ["sd1", "sd2", "sdxl"]
CPU = torch.device("cpu")


def open_model(folder: Path) -> ActiveModel:
    return fresh_model(folder)


def forward(model: ActiveModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    sample, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 7, WIDTH, generator=generator)
    added = None
    if model.info.family == "sdxl":
        added = {"text_embeds": torch.ones(2, WIDTH), "time_ids": torch.ones(2, 6)}
    with torch.no_grad():
        return model.unet(sample, torch.tensor([5, 600]), text, added_cond_kwargs=added).sample


def identities(model: ActiveModel) -> list[tuple[str, int]]:
    return [(name, id(module)) for part in (model.unet, *model.text_encoders) for name, module in part.named_modules()]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_acts_and_leaves_the_very_same_modules(tmp_path: Path, family) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    adapter = random_adapter(folder, tmp_path / "a.safetensors")
    model = open_model(folder)
    before, base = identities(model), forward(model)
    text = encode_prompts(model, ["a cat"])["hidden"]
    state = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    with apply_adapters([adapter], model):
        assert not torch.equal(forward(model), base)
        assert not torch.equal(encode_prompts(model, ["a cat"])["hidden"], text)
    assert identities(model) == before
    assert torch.equal(forward(model), base)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.unet.state_dict().items())
    assert not hasattr(model.unet, "peft_config")


def test_a_lora_of_the_unet_leaves_text_encoders_on_the_disk(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sdxl")
    untrained = LowRankAdapter(rank=2, alpha=2, unet_targets=tuple(unet_targets(handle(folder), folder, "attention")))
    model = open_model(folder)
    with apply_adapters([untrained], model) as (tensors,):
        assert tensors
        assert list(model.parts.residency.parts()) == [model.parts.key("unet")]
    with apply_adapters([random_adapter(folder, tmp_path / "a.safetensors")], model):
        assert {"unet", "text_encoder", "text_encoder_2"} == {name for _, name in model.parts.residency.parts()}


def test_an_error_inside_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    model = open_model(folder)
    before = identities(model)
    with pytest.raises(RuntimeError, match="stop"), apply_adapters([random_adapter(folder, tmp_path / "a")], model):
        raise RuntimeError("stop")
    assert identities(model) == before


def test_an_untrained_adapter_changes_nothing_and_begins_by_its_seed(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    model = open_model(folder)
    base = forward(model)
    begun: list[dict[str, torch.Tensor]] = []
    for seed in (1, 1, 2):
        adapter = LowRankAdapter(rank=4, alpha=8, unet_targets=unet_targets(handle(folder), folder, "attention"), seed=seed)
        with apply_adapters([adapter], model) as applied:
            assert torch.equal(forward(model), base)
            begun.append({name: tensor.detach().clone() for name, tensor in applied[0].items()})
    assert all(torch.equal(begun[0][name], begun[1][name]) for name in begun[0])
    down = [name for name in begun[0] if name.endswith("lora_A.weight")]
    assert down
    for name in down:
        assert not torch.equal(begun[0][name], begun[2][name])
        bound = 1 / math.sqrt(begun[0][name].shape[1])  # Kaiming uniform with a = sqrt 5
        assert float(begun[0][name].abs().max()) <= bound
        assert float(begun[0][name].std()) == pytest.approx(bound / math.sqrt(3), rel=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_update_is_strength_times_alpha_over_rank(tmp_path: Path, family) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    adapter = random_adapter(folder, tmp_path / "a", rank=2, alpha=3.0, text_encoder=False)
    adapter = replace(adapter, unet_strength=0.5, text_encoder_strength=0.5)
    tensors = adapter_tensors(adapter)
    model, reference = open_model(folder), open_model(folder)
    with torch.no_grad():
        for name in adapter.unet_targets:
            up, down = tensors[f"unet.{name}.lora_B.weight"], tensors[f"unet.{name}.lora_A.weight"]
            layer = reference.unet.get_submodule(name)
            layer.weight += 0.5 * 3.0 / 2 * (up.flatten(1) @ down.flatten(1)).reshape(layer.weight.shape)
    with apply_adapters([adapter], model):
        assert torch.allclose(forward(model), forward(reference), atol=1e-5)


def test_two_adapters_add_up_in_either_order(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    one = random_adapter(folder, tmp_path / "a", rank=2)
    two = replace(random_adapter(folder, tmp_path / "b", rank=4), unet_strength=-0.5, text_encoder_strength=-0.5)
    model = open_model(folder)
    with apply_adapters([one], model):
        alone = forward(model)
    with apply_adapters([one, two], model):
        both = forward(model)
    with apply_adapters([two, one], model):
        swapped = forward(model)
    assert torch.allclose(both, swapped, atol=1e-5)
    assert not torch.allclose(both, alone, atol=1e-4)


def test_only_a_training_makes_tensors_trainable_and_those_are_fp32(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    trained = random_adapter(folder, tmp_path / "a", text_encoder=False)
    model = fresh_model(folder, "bf16")
    with apply_adapters([trained, replace(trained, weights=None)], model) as (first, second):
        assert not any(tensor.requires_grad for tensor in [*first.values(), *second.values()])
        assert {tensor.dtype for tensor in first.values()} == {torch.bfloat16}
        assert {tensor.dtype for tensor in second.values()} == {torch.float32}


def test_targets_are_the_layers_of_the_published_counts() -> None:
    attention = unet_targets(handle(BUNDLED), BUNDLED, "attention")
    more = unet_targets(handle(BUNDLED), BUNDLED, "attention and feed-forward")
    assert len(attention) == 56
    assert set(attention) < set(more)
    assert all(name.rsplit("attn", 1)[1][2:] in ("to_q", "to_k", "to_v", "to_out.0") for name in attention)
    assert len(text_encoder_targets(handle(BUNDLED), BUNDLED, "attention")[0]) == 4 * 4
    assert len(text_encoder_targets(handle(BUNDLED), BUNDLED, "attention and feed-forward")[0]) == 4 * 6


@pytest.mark.parametrize(("family", "layers"), [("sd1", [2]), ("sd2", [2]), ("sdxl", [1, 3])])
def test_layers_that_nothing_uses_are_left_out(tmp_path: Path, family, layers: list[int]) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    found = text_encoder_targets(handle(folder, clip_skip=1), folder, "attention")
    assert [len({name.split(".")[2] for name in names}) for names in found] == layers


def test_custom_targets_name_endings() -> None:
    found = unet_targets(handle(BUNDLED), BUNDLED, "custom", ["attn2.to_k", "attn2.to_v"])
    assert found
    assert all(name.endswith(("attn2.to_k", "attn2.to_v")) for name in found)
    with pytest.raises(InputError) as caught:
        unet_targets(handle(BUNDLED), BUNDLED, "custom", ["to_z"])
    assert caught.value.field == "custom_targets"


def test_an_untrained_adapter_has_no_tensors() -> None:
    with pytest.raises(InputError, match="not been trained"):
        adapter_tensors(LowRankAdapter(rank=1, alpha=1, unet_targets=("x",)))
