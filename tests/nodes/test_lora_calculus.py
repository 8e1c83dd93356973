"""ExtractLoRA, ResizeLoRA and MergeLoRA: exact where they can be, and off by what was dropped where they cannot."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.adapters.load_lora import LoadLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.algorithms import product, rank_of
from nodes.diffusion.adapters.lora.apply import adapter_tensors, by_layer
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.merging import evaluate
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.bake_lora import BakeLoRA
from nodes.merging.extract_lora import ExtractLoRA
from nodes.merging.merge_lora import MergeLoRA
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.resize_lora import ResizeLoRA
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward, open_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_bake_lora import FAMILIES, LAYOUTS, Place


def layer_changes(place: Place, model: Any) -> dict[str, Tensor]:
    """What the last LoRA of a model adds to each layer, flat to two axes, float64."""
    lora = model.adapters[-1]
    layers = by_layer(adapter_tensors(lora))
    parts = {name: lora.strength_on(name.partition(".")[0]) for name in layers}
    doubles = {name: {leaf: tensor.double() for leaf, tensor in leaves.items()} for name, leaves in layers.items()}
    scales = {name: parts[name] * (lora.scale if rank_of(leaves) else 1) for name, leaves in doubles.items()}
    return {name: scales[name] * product(leaves).flatten(1) for name, leaves in doubles.items()}


def tuned(place: Place, size: float = 0.01, only: str = "") -> Any:
    """The model with random changes of all layers and norms, of UNet and text encoders."""
    generator = torch.Generator().manual_seed(9)
    loaded = open_model(place.folder)
    encoders = {f"text_encoder_{n}": getattr(one, "text_model", one) for n, one in enumerate(loaded.text_encoders)}
    weights = {
        f"{part}.{name}": parameter.detach() + size * torch.randn(parameter.shape, generator=generator)
        for part, module in {"unet": loaded.unet, **encoders}.items()
        for name, parameter in module.named_parameters()
        if only in name and not name.startswith("text_projection")
    }
    file = place.runner.root / f"tuned{only}.safetensors"
    save_file(weights, file)
    change = WeightChange(name="tuned", text_encoder=True, weights=file)
    return replace(place.model, adapters=(change,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_the_rank_baked_in_again_is_the_tuned_model(runner: NodeRunner, family: str, layout: str) -> None:
    place = Place(runner, family)
    model = tuned(place)
    own, expected = (place.write(runner.run(AsCheckpoint(), model=one)) for one in (place.model, model))
    base = place.model if layout == "folder" else runner.run(LoadModel(model="file.safetensors"))
    extracted = runner.run(ExtractLoRA(rank=4096, biases=True), base=base, tuned=model)
    baked = place.write(runner.run(BakeLoRA(), model=replace(place.model, adapters=extracted.adapters)))
    changed = {name for name in own if not torch.equal(baked[name], own[name])}
    left = {name for name in own if not torch.equal(expected[name], own[name])} - changed
    assert all("norm" in name or "embedding." in name for name in left)
    assert len(changed) > 50
    for name in changed:
        torch.testing.assert_close(baked[name], expected[name], rtol=0, atol=2e-7 * float(expected[name].abs().max()) + 1e-8)


def test_what_a_lora_cannot_hold_is_told(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    found = runner.run(ExtractLoRA(rank=2), base=place.model, tuned=tuned(place))
    texts = " ".join(runner.messages.texts)
    assert "layers of rank 2 to 2 hold" in texts
    assert "other changed parameters" in texts
    assert found.adapters[-1].algorithm == "locon"
    plain = runner.run(
        ExtractLoRA(rank=2, convolutions=False, text_encoder=False), base=place.model, tuned=tuned(place)
    ).adapters[-1]
    assert plain.algorithm == "lora"
    assert not plain.text_encoder_targets
    assert not any("conv1" in name or "downsamplers" in name for name in plain.unet_targets)


@pytest.mark.parametrize(("rank", "energy"), [(3, 1.0), (4096, 0.8), (2, 0.9)])
def test_each_layer_is_off_by_what_was_dropped(runner: NodeRunner, rank: int, energy: float) -> None:
    place = Place(runner, "sd1")
    model = tuned(place, only="weight")
    extracted = runner.run(ExtractLoRA(rank=rank, energy=energy), base=place.model, tuned=model)
    unet = open_model(place.folder).unet
    trained = load_file(model.adapters[0].weights)
    for layer, change in layer_changes(place, extracted).items():
        part, _, name = layer.partition(".")
        if part != "unet":
            continue
        whole = (trained[f"{layer}.weight"].double() - unet.get_submodule(name).weight.detach().double()).flatten(1)
        squares = torch.linalg.svdvals(whole).square()
        shares = squares.cumsum(0) / squares.sum()
        needed = int((shares < energy - 1e-9).sum()) + 1 if energy < 1 else len(squares)
        dropped = squares[min(rank, needed) :].sum()
        error = (whole - change).square().sum()
        torch.testing.assert_close(error, dropped, rtol=1e-3, atol=1e-9)


def test_the_file_is_kohyas_and_acts_as_what_was_extracted(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    extracted = runner.run(ExtractLoRA(rank=4096, energy=0.7), base=place.model, tuned=tuned(place))
    (artifact,) = runner.run(SaveSafetensors(filename="x", precision="fp32"), model=extracted)
    (runner.root / "x.safetensors").write_bytes(artifact.file.read_bytes())
    tensors = load_file(artifact.file)
    ranks = {name: tensor.shape[0] for name, tensor in tensors.items() if name.endswith("lora_down.weight")}
    assert len(set(ranks.values())) > 1
    assert all(tensors[name.replace("lora_down.weight", "alpha")] == rank for name, rank in ranks.items())
    loaded = runner.run(LoadLoRA(file="x.safetensors"), model=place.model)
    model = open_model(place.folder)
    with apply_adapters(extracted.adapters, model):
        expected = forward(model)
    with apply_adapters(loaded.adapters, model):
        torch.testing.assert_close(forward(model), expected, rtol=0, atol=1e-5)


def test_extracting_is_the_same_twice_and_reads_equal_files_never(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(runner, "sd1")
    model = tuned(place, only="attn1.to_q.weight")
    read: list[str] = []
    original = evaluate.Reader.numbers
    monkeypatch.setattr(
        evaluate.Reader, "numbers", lambda self, entry, *rest: read.append(entry.file.name) or original(self, entry, *rest)
    )
    files = [runner.run(ExtractLoRA(rank=2), base=place.model, tuned=model).adapters[-1] for _ in range(2)]
    assert files[0] == files[1]
    assert all(name.endswith("attn1.to_q") for name in files[0].unet_targets)
    assert len(read) == 4 * len(files[0].unet_targets)
    with pytest.raises(InputError, match="no layer that a LoRA can change differs"):
        runner.run(ExtractLoRA(), base=place.model, tuned=place.model)


def test_a_merge_can_be_extracted(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    model = tuned(place)
    half = runner.run(MergeWeighted(ratio=0.5), models=[runner.run(AsCheckpoint(), model=m) for m in (place.model, model)])
    halves = layer_changes(place, runner.run(ExtractLoRA(rank=4096), base=place.model, tuned=half))
    wholes = layer_changes(place, runner.run(ExtractLoRA(rank=4096), base=place.model, tuned=model))
    assert halves.keys() == wholes.keys()
    for layer, change in wholes.items():
        torch.testing.assert_close(2 * halves[layer], change, rtol=0, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["lora", "locon", "loha", "lokr", "rslora"])
def test_resizing_drops_the_smallest_and_keeps_strengths(runner: NodeRunner, algorithm: str) -> None:
    place = Place(runner, "sd1")
    model = place.with_loras(place.lora(algorithm, unet_strength=0.5, text_encoder_strength=2.0))
    before = layer_changes(place, model)
    resized = runner.run(ResizeLoRA(rank=1), model=model)
    lora = resized.adapters[-1]
    assert (lora.rank, lora.unet_strength, lora.text_encoder_strength) == (1, 0.5, 2.0)
    for layer, change in layer_changes(place, resized).items():
        dropped = torch.linalg.svdvals(before[layer].flatten(1).reshape(change.shape))[1:].square().sum()
        error = (before[layer].reshape(change.shape) - change).square().sum()
        torch.testing.assert_close(error, dropped, rtol=1e-3, atol=1e-7)
    same = layer_changes(place, runner.run(ResizeLoRA(rank=4096), model=model))
    for layer, change in same.items():
        torch.testing.assert_close(change, before[layer].reshape(change.shape), rtol=0, atol=1e-5)


def test_merging_is_exact_side_by_side_and_cut_by_rank(runner: NodeRunner) -> None:
    place = Place(runner, "sdxl")
    one, two = place.lora("loha", unet_strength=0.5), place.lora("lora", text_encoder_strength=0.25)
    expected = layer_changes(place, place.with_loras(one))
    for layer, change in layer_changes(place, place.with_loras(two)).items():
        expected[layer] = expected.get(layer, 0) - 2 * change
    merged = runner.run(MergeLoRA(weights="1, -2"), models=[place.with_loras(one), place.with_loras(two)])
    found = layer_changes(place, merged)
    assert found.keys() == expected.keys()
    for layer, change in expected.items():
        torch.testing.assert_close(found[layer], change.reshape(found[layer].shape), rtol=0, atol=1e-5)
    cut = runner.run(MergeLoRA(weights="1, -2", rank=3), models=[place.with_loras(one, two)])
    assert cut.adapters[-1].rank == 3
    for layer, change in layer_changes(place, cut).items():
        dropped = torch.linalg.svdvals(expected[layer].reshape(change.shape))[3:].square().sum()
        error = (expected[layer].reshape(change.shape) - change).square().sum()
        torch.testing.assert_close(error, dropped, rtol=1e-3, atol=1e-7)


def test_a_merged_lora_draws_as_its_parts_do(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    model = place.with_loras(place.lora("lokr", unet_strength=0.5), place.lora("locon"))
    loaded = open_model(place.folder)
    with apply_adapters(model.adapters, loaded):
        expected = forward(loaded)
    with apply_adapters(runner.run(MergeLoRA(), models=[model]).adapters, loaded):
        torch.testing.assert_close(forward(loaded), expected, rtol=0, atol=1e-4)


def test_a_lora_that_lies_over_a_model_twice_counts_twice(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    lora = place.lora("lora", unet_strength=0.5, text_encoder_strength=0.5)
    twice, whole = place.with_loras(lora, lora), place.with_loras(replace(lora, unet_strength=1.0, text_encoder_strength=1.0))
    merged, expected = layer_changes(place, runner.run(MergeLoRA(), models=[twice])), layer_changes(place, whole)
    for layer, change in expected.items():
        torch.testing.assert_close(merged[layer], change, rtol=0, atol=1e-5)
    baked, wanted = (place.write(runner.run(BakeLoRA(), model=model)) for model in (twice, whole))
    for name, tensor in wanted.items():
        torch.testing.assert_close(baked[name], tensor, rtol=0, atol=1e-5)
    shared = layer_changes(place, runner.run(MergeLoRA(), models=[place.with_loras(lora), twice]))
    torch.testing.assert_close(shared, merged)


def test_a_layer_that_only_files_hold_is_no_layer_of_a_lora(runner: NodeRunner) -> None:
    place = Place(runner, "sd2", "file.safetensors")
    file = runner.root / "file.safetensors"
    tensors, block = load_file(file), "cond_stage_model.model.transformer.resblocks.{}.".format
    last = max(n for n in range(24) if any(name.startswith(block(n)) for name in tensors))
    extra = {name.replace(block(last), block(last + 1)): t + 1 for name, t in tensors.items() if name.startswith(block(last))}
    with safe_open(file, "pt") as opened:
        told = opened.metadata()
    save_file({**tensors, **{name: tensor - 1 for name, tensor in extra.items()}}, file, told)
    tuned = {name: tensor + 0.1 * name.endswith("to_q.weight") for name, tensor in tensors.items()}
    save_file({**tuned, **extra}, runner.root / "other.safetensors")
    place.model = runner.run(LoadModel(model="file.safetensors"))
    other = runner.run(LoadCheckpoint(path="other.safetensors"))
    extracted = runner.run(ExtractLoRA(), base=place.model, tuned=other)
    assert not any(f"layers.{last + 1}." in name for name in adapter_tensors(extracted.adapters[-1]))
    assert not any("other changed parameters" in text for text in runner.messages.texts)


def test_bad_inputs_are_named(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    lora, dora = place.lora("lora"), place.lora("dora")
    model = place.with_loras(lora)
    for node in (ResizeLoRA(), BakeLoRA()):
        with pytest.raises(InputError, match="no LoRA"):
            runner.run(node, model=place.model)
        with pytest.raises(InputError, match="not been trained"):
            runner.run(node, model=place.with_loras(replace(lora, weights=None)))
    with pytest.raises(InputError, match="DoRA"):
        runner.run(ResizeLoRA(), model=place.with_loras(dora))
    with pytest.raises(InputError, match="3 weights for 1"):
        runner.run(MergeLoRA(weights="1, 2, 3"), models=[model])
    with pytest.raises(ValueError, match="weights"):
        MergeLoRA(weights="x")
    for weights, models, socket in (
        ("0", [model], "weights"),
        ("", [place.model], "models"),
        ("", [place.with_loras(dora)], "models"),
    ):
        with pytest.raises(InputError) as refused:
            runner.run(MergeLoRA(weights=weights), models=models)
        assert refused.value.field == socket
    with pytest.raises(InputError, match="families"):
        runner.run(MergeLoRA(), models=[model, replace(model, family="sdxl")])
    with pytest.raises(InputError, match="tuned model sdxl"):
        runner.run(ExtractLoRA(), base=place.model, tuned=replace(place.model, family="sdxl"))
    with pytest.raises(InputError, match="adapters besides") as refused:
        runner.run(ExtractLoRA(), base=model, tuned=place.model)
    assert refused.value.field == "base"
