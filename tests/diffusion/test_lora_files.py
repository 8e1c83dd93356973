"""LoRA files: exact names, and the same pictures when diffusers loads them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.apply import adapter_tensors
from nodes.diffusion.adapters.lora.targets import denoiser_layers
from nodes.diffusion.adapters.lora.write import diffusers_config, diffusers_tensors, kohya_tensors
from nodes.diffusion.formats.safetensors_writer import safetensors_bytes, tensor_bytes
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.sampling.sampler import denoise, make_scheduler
from tests.diffusion.test_lora_deltas import family_adapter
from tests.diffusion.test_sampling import each_family, pipeline
from tests.models import fresh_model, make_model_folder, random_adapter

ATTENTIONS = ("down_blocks_1_attentions_0", "mid_block_attentions_0", "up_blocks_0_attentions_0", "up_blocks_0_attentions_1")
STABILITY = ("input_blocks_3_1", "middle_block_1", "output_blocks_0_1", "output_blocks_1_1")
DEPTH = {"sd1": (1, 1, 1, 1), "sd2": (1, 1, 1, 1), "sdxl": (2, 2, 2, 2)}
ENCODERS = {"sd1": ("lora_te",), "sd2": ("lora_te",), "sdxl": ("lora_te1", "lora_te2")}


def kohya_names(family: str) -> Iterator[str]:
    """Layer names by kohya's rules, spelled out."""
    places = STABILITY if family == "sdxl" else ATTENTIONS
    for attention, depth in zip(places, DEPTH[family], strict=True):
        yield from (f"lora_unet_{attention}_{layer}" for layer in ("proj_in", "proj_out"))
        for block in range(depth):
            place = f"lora_unet_{attention}_transformer_blocks_{block}"
            for kind in ("attn1", "attn2"):
                yield from (f"{place}_{kind}_{layer}" for layer in ("to_q", "to_k", "to_v", "to_out_0"))
            yield from (f"{place}_{layer}" for layer in ("ff_net_0_proj", "ff_net_2"))
    for encoder in ENCODERS[family]:
        # SDXL uses nothing of its first encoder's last layer
        for number in range(2 if encoder == "lora_te1" else 3):
            place = f"{encoder}_text_model_encoder_layers_{number}"
            yield from (f"{place}_self_attn_{which}_proj" for which in ("q", "k", "v", "out"))
            yield from (f"{place}_mlp_{which}" for which in ("fc1", "fc2"))


@each_family
def test_kohya_names_are_exact(tmp_path: Path, family: str) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    adapter = random_adapter(folder, tmp_path / "w.safetensors")
    written = kohya_tensors(adapter, adapter_tensors(adapter), family, denoiser_layers(folder, family), torch.float16)
    parts = ("lora_down.weight", "lora_up.weight", "alpha")
    assert set(written) == {f"{name}.{part}" for name in kohya_names(family) for part in parts}
    first, middle = (STABILITY if family == "sdxl" else ATTENTIONS)[:2]
    down = written[f"lora_unet_{first}_proj_in.lora_down.weight"]
    assert down.shape == ((2, 32, 1, 1) if family == "sd1" else (2, 32))
    assert written[f"lora_unet_{middle}_proj_out.lora_up.weight"].shape[:2] == (32, 2)
    assert all(tensor.shape == () for name, tensor in written.items() if name.endswith(".alpha"))


def test_a_large_alpha_survives_half_precision(tmp_path: Path) -> None:
    adapter = random_adapter(make_model_folder(tmp_path / "m", "sd1"), tmp_path / "w.safetensors", alpha=100_000.0)
    written = kohya_tensors(adapter, adapter_tensors(adapter), "sd1", (), torch.float16)
    alphas = [tensor.item() for name, tensor in written.items() if name.endswith(".alpha")]
    assert alphas
    assert set(alphas) == {100_000.0}


@pytest.mark.parametrize("algorithm", ["locon", "loha", "lokr", "dora"])
def test_sdxl_s_convolutions_have_stability_s_names(tmp_path: Path, algorithm: str) -> None:
    folder = make_model_folder(tmp_path / "m", "sdxl")
    adapter = family_adapter(folder, algorithm, tmp_path / "w.safetensors")
    written = kohya_tensors(adapter, adapter_tensors(adapter), "sdxl", denoiser_layers(folder, "sdxl"), torch.float32)
    layers = {name.partition(".")[0].removeprefix("lora_unet_") for name in written if name.startswith("lora_unet")}
    assert len(layers) == len(adapter.unet_targets)
    assert all(layer.startswith(("input_blocks_", "middle_block_", "output_blocks_")) for layer in layers)
    places = {"input_blocks_1_0_in_layers_2", "middle_block_2_out_layers_3", "input_blocks_2_0_op", "output_blocks_1_2_conv"}
    assert places <= layers


def write(adapter: LowRankAdapter, folder: Path, family: str, layout: str, path: Path) -> None:
    tensors, metadata = adapter_tensors(adapter), {"format": "pt"}
    if layout == "kohya":
        written = kohya_tensors(adapter, tensors, family, denoiser_layers(folder, family), torch.float32)
    else:
        written = diffusers_tensors(adapter, tensors, family, torch.float32)
        metadata["lora_adapter_metadata"] = diffusers_config(adapter, family)
    path.write_bytes(safetensors_bytes(written, metadata, tensor_bytes(written)))


def drawn(model: ActiveModel) -> torch.Tensor:
    return denoise(
        model,
        ["red apple"],
        seeds=[3],
        negative_prompt="blurry",
        num_inference_steps=3,
        guidance_scale=3.0,
        size=(16, 16),
        scheduler=make_scheduler(model, "ddim"),
    )


@each_family
@pytest.mark.parametrize("algorithm", ["lora", "rslora", "locon"])
@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_diffusers_draws_the_same_from_the_file(tmp_path: Path, family: str, layout: str, algorithm: str) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    if algorithm == "locon":
        adapter = family_adapter(folder, "locon", tmp_path / "w.safetensors")
    else:
        adapter = replace(random_adapter(folder, tmp_path / "w.safetensors", rank=4, alpha=2.0), algorithm=algorithm)
    adapter = replace(adapter, unet_strength=0.5, text_encoder_strength=0.25)
    model = fresh_model(folder)
    before = drawn(model)
    with apply_adapters([adapter], model):
        ours = drawn(model)
    write(adapter, folder, family, layout, tmp_path / "lora.safetensors")
    pipeline(model, "ddim").load_lora_weights(str(tmp_path), weight_name="lora.safetensors")
    theirs = drawn(model)
    assert (ours - before).abs().max() > 0.05
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_diffusers_spelling_is_the_one_old_readers_know(tmp_path: Path) -> None:
    adapter = random_adapter(make_model_folder(tmp_path / "m", "sdxl"), tmp_path / "w.safetensors")
    names = set(diffusers_tensors(adapter, load_file(tmp_path / "w.safetensors"), "sd1", torch.float16))
    assert "unet.mid_block.attentions.0.transformer_blocks.1.attn2.to_out.0.lora.up.weight" in names
    for encoder in ("text_encoder", "text_encoder_2"):
        assert f"{encoder}.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight" in names
    config = json.loads(diffusers_config(adapter, "sd1"))
    assert {name.split(".")[0] for name in config} == {"unet", "text_encoder", "text_encoder_2"}
    assert (config["unet.r"], config["text_encoder_2.lora_alpha"]) == (2, 1.0)
