"""Adapters beyond products of matrices: from file to picture, to file again, into a checkpoint; and what comes with a LoRA."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.adapters.load_lora import LoadLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter, TokenEmbedding
from nodes.diffusion.text.encoding import encode_prompts
from nodes.merging.bake_lora import BakeLoRA
from nodes.merging.merge_lora import MergeLoRA
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_bake_lora import Place

BLOCK = "mid_block.attentions.0.transformer_blocks.0"
DRAW = torch.Generator().manual_seed(6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    runner = NodeRunner(tmp_path_factory.mktemp("kinds"))
    yield Place(runner, "sd1")
    runner.cache.close()


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=DRAW) * 0.3


def kohya(layer: str) -> str:
    part, _, name = layer.partition(".")
    return f"lora_{'te_text_model' if part.startswith('text') else part}_{name.replace('.', '_')}"


def mixed() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file of every kind on a small SD1, and the new value of each parameter by its old one."""
    glora = {"a1": random(32, 4), "a2": random(4, 32), "b1": random(32, 4), "b2": random(4, 32)}
    vector, whole, scale, shift, text = random(64), random(32, 32), random(16), random(16), random(32)
    middle, bias = random(32), random(32)
    leaves = {
        f"unet.{BLOCK}.attn1.to_q": {f"{name}.weight": tensor for name, tensor in glora.items()} | {"alpha": torch.tensor(8.0)},
        f"unet.{BLOCK}.ff.net.0.proj": {"weight": random(1, 256), "on_input": torch.tensor(False)},
        f"unet.{BLOCK}.attn1.to_k": {"set_weight": whole},
        "unet.down_blocks.0.resnets.0.norm1": {"w_norm": scale, "b_norm": shift},
        f"unet.{BLOCK}.norm2": {"diff": middle, "diff_b": bias},
        "text_encoder_0.encoder.layers.0.layer_norm1": {"w_norm": text},
        "text_encoder_0.encoder.layers.1.mlp.fc1": {"weight": vector[None, :32], "on_input": torch.tensor(True)},
    }
    outputs = leaves[f"unet.{BLOCK}.ff.net.0.proj"]["weight"][0]
    expected = {
        f"unet.{BLOCK}.attn1.to_q.weight": lambda w: w + 2 * (glora["b1"] @ glora["b2"] + w @ glora["a1"] @ glora["a2"]),
        f"unet.{BLOCK}.ff.net.0.proj.weight": lambda w: w * (1 + outputs[:, None]),
        f"unet.{BLOCK}.attn1.to_k.weight": lambda w: whole,
        "unet.down_blocks.0.resnets.0.norm1.weight": lambda w: w + scale,
        "unet.down_blocks.0.resnets.0.norm1.bias": lambda w: w + shift,
        f"unet.{BLOCK}.norm2.weight": lambda w: w + middle,
        f"unet.{BLOCK}.norm2.bias": lambda w: w + bias,
        "text_encoder.encoder.layers.0.layer_norm1.weight": lambda w: w + text,
        "text_encoder.encoder.layers.1.mlp.fc1.weight": lambda w: w * (1 + vector[:32]),
    }
    tensors = {f"{kohya(layer)}.{leaf}": tensor for layer, own in leaves.items() for leaf, tensor in own.items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, expected


def load(place: Place, tensors: dict[str, Tensor], name: str = "l", **fields: Any) -> Any:
    save_file(tensors, place.runner.root / f"{name}.safetensors")
    return place.runner.run(LoadLoRA(file=f"{name}.safetensors", **fields), model=place.model)


def test_every_kind_acts_is_baked_and_is_saved_as_what_it_is(place: Place) -> None:
    tensors, expected = mixed()
    model, plain = load(place, tensors), place.plain()
    assert not place.runner.messages.texts
    baked = place.write(place.runner.run(BakeLoRA(), model=model))
    own = {name.replace("text_encoder.text_model.", "text_encoder."): name for name in plain}
    for name, tensor in plain.items():
        mine = next((short for short, full in own.items() if full == name), name)
        wanted = expected[mine](tensor) if mine in expected else tensor
        torch.testing.assert_close(baked[name], wanted, rtol=0, atol=1e-5, msg=name)
    loaded = place.opened(model)
    modules = {"unet": loaded.unet, "text_encoder": getattr(loaded.text_encoders[0], "text_model", loaded.text_encoders[0])}
    with apply_adapters(model.adapters, loaded):
        drawn, text = forward(loaded), encode_prompts(loaded, ["a cat"])["hidden"]
    before = {name: modules[name.partition(".")[0]].get_parameter(name.partition(".")[2]).data.clone() for name in expected}
    try:
        for name, change in expected.items():
            modules[name.partition(".")[0]].get_parameter(name.partition(".")[2]).data.copy_(change(before[name]))
        torch.testing.assert_close(drawn, forward(loaded), rtol=0, atol=1e-4)
        torch.testing.assert_close(text, encode_prompts(loaded, ["a cat"])["hidden"], rtol=0, atol=1e-4)
    finally:
        for name, tensor in before.items():
            modules[name.partition(".")[0]].get_parameter(name.partition(".")[2]).data.copy_(tensor)
    (artifact,) = place.runner.run(SaveSafetensors(precision="fp32", filename="again"), model=model)
    again = load_file(artifact.file)
    spelled = {
        name.replace("norm2.diff_b", "norm2.b_norm").replace("norm2.diff", "norm2.w_norm"): t for name, t in tensors.items()
    }
    for name, tensor in spelled.items():
        torch.testing.assert_close(again[name], tensor.float(), rtol=0, atol=1e-6, msg=name)
    zeros = {name for name in again.keys() - spelled.keys() if not again[name].any()}
    assert again.keys() - spelled.keys() == zeros


def test_changes_of_norms_are_added_up_whole(place: Place) -> None:
    name = kohya("unet.down_blocks.0.resnets.0.norm1")
    models = [load(place, {f"{name}.w_norm": torch.full((16,), value)}, f"n{value}", unet_strength=0.5) for value in (1.0, 2.0)]
    merged = place.runner.run(MergeLoRA(), models=models)
    tensors = load_file(merged.adapters[-1].weights)
    torch.testing.assert_close(tensors["unet.down_blocks.0.resnets.0.norm1.diff"], torch.full((16,), 1.5))


def pair(rank: int = 2) -> dict[str, Tensor]:
    name = kohya(f"unet.{BLOCK}.attn1.to_q")
    return {f"{name}.lora_down.weight": random(rank, 32), f"{name}.lora_up.weight": random(32, rank)}


def test_a_folder_of_peft_is_opened_by_its_name(place: Place) -> None:
    folder = place.runner.root / "fox"
    folder.mkdir()
    a, b = random(2, 32), random(32, 2)
    prefix = f"base_model.model.{BLOCK}.attn1.to_q"
    save_file({f"{prefix}.lora_A.weight": a, f"{prefix}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 6, "peft_type": "LORA"}))
    model = place.runner.run(LoadLoRA(file="fox"), model=place.model)
    adapter = model.adapters[-1]
    assert (adapter.name, adapter.rank, adapter.alpha) == ("fox", 2, 6.0)
    (place.runner.root / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no adapter_model"):
        place.runner.run(LoadLoRA(file="nothing"), model=place.model)


def test_bundled_words_can_be_used_in_prompts(place: Place) -> None:
    vectors = random(3, 32)
    bundled = {"bundle_emb.fox.emp_params": vectors, "bundle_emb.fox.emp_params_out": random(3, 32)}
    bundled |= {"bundle_emb.v1.5 owl.string_to_param.*": random(1, 32), "bundle_emb.wide.emb_params": random(1, 99)}
    model = load(place, pair() | bundled)
    fox, owl, lora = model.adapters
    assert isinstance(fox, TokenEmbedding)
    assert (fox.placeholder_token, fox.num_vectors, owl.placeholder_token) == ("fox", 3, "v1.5owl")
    assert torch.equal(load_file(fox.weights)["text_encoder_0"], vectors)
    assert isinstance(lora, LowRankAdapter)
    wrong, told = place.runner.messages.texts
    assert "99 wide" in wrong
    assert "fox, v1.5owl" in told
    place.runner.run(LoadLoRA(file="l.safetensors"), model=model)
    assert "has one of that name" in place.runner.messages.texts[0]


@pytest.mark.parametrize(("rank", "alpha", "told"), [(2, 0.0, "1 of 1 layers change nothing"), (0, 1.0, "rank 0")])
def test_a_lora_that_does_nothing_is_told(place: Place, rank: int, alpha: float, told: str) -> None:
    load(place, pair(rank) | {f"{kohya(f'unet.{BLOCK}.attn1.to_q')}.alpha": torch.tensor(alpha)})
    assert told in place.runner.messages.texts[0]


def test_alphas_of_layers_come_back_as_they_were(place: Place, tmp_path: Path) -> None:
    """Two layers of one scale, one of another: B stays as it is, and each alpha is saved again."""
    tensors: dict[str, Tensor] = {}
    for layer, rank, alpha in (("attn1.to_q", 4, 1.0), ("attn1.to_k", 8, 2.0), ("attn2.to_q", 2, 2.0)):
        name = kohya(f"unet.{BLOCK}.{layer}")
        tensors |= {f"{name}.lora_down.weight": random(rank, 32), f"{name}.lora_up.weight": random(32, rank)}
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
    model = load(place, tensors)
    assert (model.adapters[0].rank, model.adapters[0].alpha) == (8, 2.0)
    (artifact,) = place.runner.run(SaveSafetensors(precision="fp32", filename="alphas"), model=model)
    saved = load_file(artifact.file)
    assert saved.keys() == tensors.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in tensors.items())
