"""Checkpoints whose weights are fp8 numbers times scales of their own: read, written, trained, merged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.stable_diffusion.facts.parts import FIRST_LAYER, UNET
from nodes.diffusion.families.stable_diffusion.facts.prediction import SD2_V_PREDICTION_PROBE
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import moving_average_name
from nodes.diffusion.formats.single_file.header import _e4m3, read_single_file
from nodes.diffusion.handles.adapters import WeightChange
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.merge_weighted import MergeWeighted
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward
from tests.models import fresh_model, make_model_folder
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_single_files import opened, said, saved

LAYER = f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_v"
LARGEST = 448.0
"""Of e4m3, to which the largest number of a weight is scaled."""


def quantized(tensors: dict[str, Tensor], spelling: str, *, by_rows: bool = False) -> dict[str, Tensor]:
    """The matrices of the UNet as scaled fp8, as ComfyUI writes them; everything else as fp16."""
    found = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if name.startswith(UNET) and name.endswith(".weight") and tensor.dim() == 2:
            size = tensor.abs().amax(dim=1, keepdim=True) if by_rows else tensor.abs().max()
            scale = (size / LARGEST).float()
            found[name] = (tensor / scale).to(torch.float8_e4m3fn)
            layer = name.removesuffix(".weight")
            found[f"{layer}.{spelling}"] = scale
            found[f"{layer}.{'scale_input' if spelling == 'scale_weight' else 'input_scale'}"] = torch.ones(())
            if spelling == "weight_scale":
                found[f"{layer}.comfy_quant"] = torch.zeros(30, dtype=torch.uint8)
    return found | ({f"{UNET}scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)} if spelling == "scale_weight" else {})


def meant(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The numbers that such a file stands for, in the tensors of a plain one, found without what reads it here."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        scale = tensors.get(f"{layer}.scale_weight", tensors.get(f"{layer}.weight_scale")) if layer != name else None
        if not name.endswith(("scale_weight", "weight_scale", "scale_input", "input_scale", "comfy_quant", "scaled_fp8")):
            found[name] = tensor if scale is None else tensor.float() * scale
    return found


def written(
    runner: NodeRunner, tmp_path: Path, family: Any = "sd1", spelling: str = "scale_weight", **options: Any
) -> dict[str, Tensor]:
    """Write `m.safetensors`; its tensors."""
    file = saved(make_model_folder(tmp_path / "folder", family), runner.root / "m.safetensors")
    tensors = quantized(load_file(file), spelling, **options)
    assert tensors[f"{LAYER}.weight"].dtype == torch.float8_e4m3fn
    save_file(tensors, file, said(file))
    return tensors


each_spelling = pytest.mark.parametrize("spelling", ["scale_weight", "weight_scale"])


@each_spelling
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_weights_are_multiplied_by_their_scales(
    runner: NodeRunner, tmp_path: Path, family: str, spelling: str, by_rows: bool
) -> None:
    tensors = written(runner, tmp_path, family, spelling, by_rows=by_rows)
    _, loaded = opened(runner, "m.safetensors")
    assert "fp8 weights with scales" in runner.messages.texts[0]
    save_file(meant(tensors), runner.root / "plain.safetensors", said(runner.root / "m.safetensors"))
    _, plain = opened(runner, "plain.safetensors")
    ours, theirs = loaded.unet.state_dict(), plain.unet.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    original = fresh_model(tmp_path / "folder")
    assert torch.allclose(forward(loaded), forward(original), atol=0.08)


@each_spelling
def test_what_is_not_changed_is_written_bit_by_bit(runner: NodeRunner, tmp_path: Path, spelling: str) -> None:
    tensors = written(runner, tmp_path, "sd1", spelling)
    layers = {"_quantization_metadata": '{"layers": {}}'}
    save_file(tensors, runner.root / "m.safetensors", said(runner.root / "m.safetensors") | layers)
    (artifact,) = runner.run(SaveCheckpoint(), model=runner.run(LoadModel(model="m.safetensors")))
    assert layers.items() <= said(artifact.file).items()
    again = load_file(artifact.file)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == again[name].dtype
        assert torch.equal(tensor.flatten().view(torch.uint8), again[name].flatten().view(torch.uint8))


@pytest.mark.parametrize("trained", [True, False])
def test_what_is_changed_is_written_without_scales(runner: NodeRunner, tmp_path: Path, trained: bool) -> None:
    tensors = written(runner, tmp_path)
    model = runner.run(LoadModel(model="m.safetensors"))
    if trained:
        file = tmp_path / "trained.safetensors"
        save_file({"unet.conv_out.bias": torch.ones(4)}, file)
        model = replace(model, adapters=(WeightChange(name="trained", weights=file),))
    (artifact,) = runner.run(SaveCheckpoint(precision="as loaded" if trained else "fp16"), model=model)
    again, expected = load_file(artifact.file), meant(tensors)
    if trained:
        expected[f"{UNET}out.2.bias"] = torch.ones(4)
    assert again.keys() == expected.keys()
    assert again[f"{LAYER}.weight"].dtype == torch.float16
    assert all(torch.equal(again[name], tensor.to(again[name].dtype)) for name, tensor in expected.items())


@each_spelling
@pytest.mark.parametrize("by_rows", [False, True])
def test_merges_take_the_numbers_that_are_meant(runner: NodeRunner, tmp_path: Path, spelling: str, by_rows: bool) -> None:
    tensors = meant(written(runner, tmp_path, "sd1", spelling, by_rows=by_rows))
    other = load_file(saved(make_model_folder(tmp_path / "other", "sd1", seed=1), runner.root / "o.safetensors"))
    models = [runner.run(LoadCheckpoint(path=f"{name}.safetensors")) for name in "mo"]
    (merged,) = runner.run(SaveSafetensors(precision="fp32"), model=runner.run(MergeWeighted(), models=models))
    found = load_file(merged.file)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = (tensor.float() + other[name].float()) / 2 if tensor.is_floating_point() else tensor
        torch.testing.assert_close(found[name], expected, rtol=1e-6, atol=1e-7)


def test_a_model_from_such_a_file_can_be_merged(runner: NodeRunner, tmp_path: Path) -> None:
    tensors = written(runner, tmp_path)
    checkpoint = runner.run(AsCheckpoint(), model=runner.run(LoadModel(model="m.safetensors")))
    (merged,) = runner.run(SaveSafetensors(precision="fp32"), model=checkpoint)
    assert torch.equal(load_file(merged.file)[f"{LAYER}.weight"], meant(tensors)[f"{LAYER}.weight"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({f"{LAYER}.weight": torch.zeros(32, 32, dtype=torch.int8)}, r"is I8 \[32, 32\] with scales F32 \[\]"),
        ({f"{LAYER}.scale_weight": torch.ones(32, 4)}, r"is F8_E4M3 \[32, 32\] with scales F32 \[32, 4\]"),
        ({f"{LAYER}.scale_weight": torch.ones(32, dtype=torch.uint8)}, r"with scales U8 \[32\]"),
    ],
    ids=["whole numbers", "blocks", "exponents"],
)
def test_other_kinds_of_scales_are_refused(runner: NodeRunner, tmp_path: Path, changed: Any, message: str) -> None:
    tensors = written(runner, tmp_path)
    save_file(tensors | changed, runner.root / "m.safetensors", said(runner.root / "m.safetensors"))
    with pytest.raises(InputError, match=message) as caught:
        runner.run(LoadModel(model="m.safetensors"))
    assert caught.value.field == "model"
    with pytest.raises(InputError, match=message) as caught:
        runner.run(LoadCheckpoint(path="m.safetensors"))
    assert caught.value.field == "path"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("spread", "predicts"), [(0.2, "v_prediction"), (0.02, "epsilon")])
def test_sd2_tells_what_it_predicts_in_any_numbers(tmp_path: Path, dtype: torch.dtype, spread: float, predicts: str) -> None:
    numbers = spread * torch.randn(320, generator=torch.Generator().manual_seed(0))
    tensors = {SD2_V_PREDICTION_PROBE: numbers.to(dtype), FIRST_LAYER: torch.zeros(320, 4, 3, 3)}
    save_file(tensors, tmp_path / "m.safetensors")
    torch.save({"state_dict": tensors}, tmp_path / "m.ckpt")
    for name in ("m.safetensors", "m.ckpt"):
        assert facts("sd2").prediction_of(read_single_file(tmp_path / name)) == (predicts, "its weights tell")


def test_weights_do_not_tell_what_an_inpainting_model_predicts(tmp_path: Path) -> None:
    numbers = 0.2 * torch.randn(320, generator=torch.Generator().manual_seed(0))
    save_file({SD2_V_PREDICTION_PROBE: numbers, FIRST_LAYER: torch.zeros(320, 9, 3, 3)}, tmp_path / "m.safetensors")
    assert facts("sd2").prediction_of(read_single_file(tmp_path / "m.safetensors"))[0] == "epsilon"


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    shapes = {SD2_V_PREDICTION_PROBE: [9], FIRST_LAYER: [1, 4, 1, 1]}
    entries = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]} for name, shape in shapes.items()}
    header = json.dumps(entries).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match="cut off"):
        facts("sd2").prediction_of(read_single_file(tmp_path / "m.safetensors"))


def test_what_was_trained_on_plain_fp8_is_not_rounded_away(runner: NodeRunner, tmp_path: Path) -> None:
    """A hundredth more is less than half a step of e4m3, and 500 is beyond its largest number."""
    file = saved(make_model_folder(tmp_path / "folder", "sd1"), runner.root / "m.safetensors")
    low = {name: t.to(torch.float8_e4m3fn) if t.is_floating_point() else t for name, t in load_file(file).items()}
    save_file(low, file, said(file))
    model, trained = runner.run(LoadModel(model="m.safetensors")), tmp_path / "trained.safetensors"
    save_file({"unet.conv_out.bias": torch.tensor([1.01, 1.05, 0.97, 500])}, trained)
    model = replace(model, adapters=(WeightChange(name="trained", weights=trained),))
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    again, name = load_file(artifact.file), f"{UNET}out.2.bias"
    assert torch.equal(again[name], torch.tensor([1.01, 1.05, 0.97, 500]).half())
    assert all(t.dtype == low[other].dtype for other, t in again.items() if other != name)
    assert "written as fp16" in runner.messages.texts[-1]


def test_a_moving_average_is_not_multiplied_by_the_scales(runner: NodeRunner, tmp_path: Path) -> None:
    tensors = written(runner, tmp_path)
    averages = {moving_average_name(name): t.half() + 1 for name, t in meant(tensors).items() if name.startswith(UNET)}
    save_file(tensors | averages, runner.root / "m.safetensors", said(runner.root / "m.safetensors"))
    model = runner.run(LoadModel(model="m.safetensors", moving_average=True))
    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    again = load_file(artifact.file)
    assert torch.equal(again[f"{LAYER}.weight"], averages[moving_average_name(f"{LAYER}.weight")])
    assert not any(name.endswith("scale_weight") for name in again)


def test_every_byte_of_e4m3_is_read() -> None:
    numbers = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    finite = numbers.isfinite()
    assert finite.sum() == 254
    assert all(_e4m3(byte) == float(numbers[byte]) for byte in range(256) if finite[byte])
