"""BakeLoRA and AsModel: what is baked is what an adapter does, in every layout, in one pass."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.adapters.load_lora import LoadLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.apply import adapter_tensors, by_layer
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import BYTES
from nodes.diffusion.handles.adapters import LowRankAdapter, TokenEmbedding, WeightChange
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.diffusion.merging import evaluate
from nodes.diffusion.merging.lora_layers import layers_in, parameters_in
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.read_tensors import Reader
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.encoding import encode_prompts
from nodes.merging.as_model import AsModel
from nodes.merging.bake_lora import BakeLoRA
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.merges import source_of
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward
from tests.diffusion.test_lora_deltas import each_algorithm, family_adapter
from tests.models import make_model_folder, shared_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_single_files import saved as save_single_file

CPU = torch.device("cpu")
FAMILIES = ["sd1", "sd2", "sdxl"]
LAYOUTS = ["folder", "file"]


class Place:
    """A small model in the workspace, as a folder and as a file, and a LoRA over it."""

    def __init__(self, runner: NodeRunner, family: Any, layout: str = "folder") -> None:
        self.runner, self.folder = runner, make_model_folder(runner.root / "folder", family)
        save_single_file(self.folder, runner.root / "file.safetensors")
        self.name = {"folder": "folder"}.get(layout, "file.safetensors")
        self.model = runner.run(LoadModel(model=self.name))

    def lora(self, algorithm: str, **changes: Any) -> Any:
        return family_adapter(self.folder, algorithm, self.runner.root / f"{algorithm}.safetensors", **changes)

    def with_loras(self, *loras: Any) -> Any:
        return replace(self.model, adapters=loras)

    def write(self, checkpoint: Checkpoint, precision: str = "fp32") -> dict[str, torch.Tensor]:
        (artifact,) = self.runner.run(SaveSafetensors(precision=precision, filename="m"), model=checkpoint)
        return load_file(artifact.file)

    def plain(self) -> dict[str, Tensor]:
        return self.write(Checkpoint(source_of(self.model), self.model.family))

    def locate(self, digest: str) -> Path:
        return self.runner.located[digest]

    def opened(self, model: Any) -> ActiveModel:
        return shared_model(model, self.runner.located[model.digest])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
@each_algorithm
def test_a_baked_model_computes_what_the_adapters_make_of_it(
    runner: NodeRunner, family: str, layout: str, algorithm: str
) -> None:
    place = Place(runner, family, layout)
    loras = [place.lora(algorithm, unet_strength=0.7, text_encoder_strength=0.4), place.lora("lora")]
    model = place.with_loras(*loras)
    with apply_adapters(loras, place.opened(model)):
        expected, text = forward(place.opened(model)), encode_prompts(place.opened(model), ["a cat"])
    baked = runner.run(AsModel(), checkpoint=runner.run(BakeLoRA(), model=model), model=model)
    plain = forward(place.opened(model))
    with apply_adapters(baked.adapters, place.opened(model)):
        found, found_text = forward(place.opened(model)), encode_prompts(place.opened(model), ["a cat"])
    assert (expected - plain).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(found_text["hidden"], text["hidden"], rtol=0, atol=1e-4)


def in_doubles(leaves: dict[str, Tensor], weight: Tensor, scale: float) -> Tensor:
    """W' - W by its definition, in float64."""
    own, given = weight.double(), {leaf: tensor.double() for leaf, tensor in leaves.items()}
    if "hada_w1_a" in given:
        one, two = (given[f"hada_w{n}_a"] @ given[f"hada_w{n}_b"] for n in (1, 2))
        return (scale * one * two).reshape(own.shape)
    if "lokr_w1" in given:
        whole = "lokr_w2" in given
        large = given["lokr_w2"].flatten(1) if whole else given["lokr_w2_a"] @ given["lokr_w2_b"]
        rows = [torch.cat([number * large for number in row], dim=1) for row in given["lokr_w1"]]
        return (torch.cat(rows) * (1 if whole else scale)).reshape(own.shape)
    added = (scale * given["lora_B.weight"].flatten(1) @ given["lora_A.weight"].flatten(1)).reshape(own.shape)
    if "dora_scale" not in given:
        return added
    along = 0 if given["dora_scale"].shape[0] == own.shape[0] else 1
    others = [axis for axis in range(own.dim()) if axis != along]
    changed = own + added
    return (
        changed
        / changed.square().sum(dim=others, keepdim=True).sqrt()
        * given["dora_scale"].reshape([-1 if axis == along else 1 for axis in range(own.dim())])
        - own
    )


SLICES = pytest.mark.parametrize("size", [evaluate.SLICE, 100], ids=["whole", "in slices"])
"""Tensors as they are read in one go, and a few rows at a time."""


@SLICES
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["sd1", "sd2"])
@each_algorithm
def test_the_numbers_are_those_of_float64(
    runner: NodeRunner, monkeypatch: pytest.MonkeyPatch, family: Any, layout: str, algorithm: str, size: int
) -> None:
    monkeypatch.setattr(evaluate, "SLICE", size)
    place = Place(runner, family, layout)
    lora = place.lora(algorithm, unet_strength=0.7, text_encoder_strength=-0.4)
    own, baked = place.plain(), place.write(runner.run(BakeLoRA(), model=place.with_loras(lora)))
    layers = by_layer(adapter_tensors(lora))
    places, seen = layers_in(planned(source_of(place.model), place.locate).tensors), set[str]()
    assert layers.keys() <= places.keys()
    for layer, leaves in layers.items():
        part, strength = places[layer], 0.7 if layer.startswith("unet.") else -0.4
        rows = slice(part.first, part.first + part.shape[0])
        expected = own[part.name][rows].double()
        expected = expected + strength * in_doubles(leaves, expected, lora.scale)
        limit = 1e-6 * float(expected.abs().max() + 1)
        torch.testing.assert_close(baked[part.name][rows].double(), expected, rtol=0, atol=limit)
        seen.add(part.name)
    assert all(torch.equal(baked[name], tensor) for name, tensor in own.items() if name not in seen)


@SLICES
def test_magnitudes_along_outputs_and_changes_of_biases(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(evaluate, "SLICE", size)
    place = Place(runner, "sd2", "file.safetensors")
    generator, file = torch.Generator().manual_seed(1), runner.root / "x.safetensors"
    layers = layers_in(planned(source_of(place.model), place.locate).tensors)
    tensors: dict[str, Tensor] = {}
    for layer in ("unet.down_blocks.1.resnets.0.conv1", "text_encoder_0.encoder.layers.1.self_attn.v_proj"):
        outputs, inputs, *kernel = layers[layer].shape
        tensors[f"{layer}.lora_A.weight"] = torch.randn(2, inputs, *kernel, generator=generator)
        tensors[f"{layer}.lora_B.weight"] = torch.randn(outputs, 2, *(1 for _ in kernel), generator=generator)
        tensors[f"{layer}.dora_scale"] = torch.rand(outputs, 1, *(1 for _ in kernel), generator=generator)
        tensors[f"{layer}.diff_b"] = torch.randn(outputs, generator=generator)
    whole = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors[f"{whole}.diff"] = torch.randn(layers[whole].shape, generator=generator)
    save_file(tensors, file)
    lora = LowRankAdapter(rank=2, alpha=3.0, unet_targets=("x",), weights=file, unet_strength=0.5)
    own, baked = place.plain(), place.write(runner.run(BakeLoRA(), model=place.with_loras(lora)))
    parameters = parameters_in(planned(source_of(place.model), place.locate).tensors)
    for layer, leaves in by_layer(tensors).items():
        strength = 0.5 if layer.startswith("unet.") else 1.0
        for last in ("weight", "bias") if layer != whole else ("weight",):
            part = parameters[f"{layer}.{last}"]
            rows = slice(part.first, part.first + part.shape[0])
            before = own[part.name][rows].double()
            if last == "bias":
                change = leaves["diff_b"].double()
            else:
                change = leaves["diff"].double() if layer == whole else in_doubles(leaves, before, 1.5)
            torch.testing.assert_close(baked[part.name][rows].double(), before + strength * change, rtol=0, atol=5e-6)


def test_baking_and_merging_read_each_number_once(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(runner, "sd1")
    make_model_folder(runner.root / "other", "sd1", seed=3)
    other = runner.run(LoadCheckpoint(path="other"))
    baked = runner.run(BakeLoRA(), model=place.with_loras(place.lora("lora")))
    twice = runner.run(BakeLoRA(unet_strength=0.5), model=place.with_loras(place.lora("locon")), checkpoint=baked)
    merged = runner.run(MergeWeighted(ratio=0.25), models=[twice, other])
    last = runner.run(BakeLoRA(), model=place.with_loras(place.lora("loha")), checkpoint=merged)
    assert len(twice.recipe.loras) == 2
    read: Counter[tuple[Path, int]] = Counter()
    original = Reader.raw

    def raw(self: Reader, entry: Any, start: int = 0, count: int | None = None) -> Tensor:
        if entry.file.parent.name in ("unet", "vae", "text_encoder"):
            width = BYTES[entry.dtype]
            read.update((entry.file, entry.start + width * (start + n)) for n in range(entry.count if count is None else count))
        return original(self, entry, start, count)

    monkeypatch.setattr(Reader, "raw", raw)
    place.write(last)
    header = planned(last.recipe, place.locate)
    assert set(read.values()) == {1}
    assert len(read) == sum(entry.count for entries in header.headers.values() for entry in entries.values())


def test_a_merge_with_baked_parts_is_their_sum(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    make_model_folder(runner.root / "other", "sd1", seed=3)
    other = runner.run(LoadCheckpoint(path="other"))
    one, two = place.lora("lora"), place.lora("lokr")
    inner = runner.run(BakeLoRA(), model=place.with_loras(one))
    merged = runner.run(MergeWeighted(ratio=0.25), models=[inner, other])
    found = place.write(runner.run(BakeLoRA(unet_strength=2), model=place.with_loras(two), checkpoint=merged))
    name, leaves = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", []
    leaves = [by_layer(adapter_tensors(lora))[name] for lora in (one, two)]
    own, theirs = (weights[f"{name}.weight"].double() for weights in (place.plain(), place.write(other)))
    changes = [in_doubles(found, own, one.scale) for found in leaves]
    expected = 0.75 * (own + changes[0]) + 0.25 * theirs + 2 * changes[1]
    torch.testing.assert_close(found[f"{name}.weight"].double(), expected, rtol=0, atol=1e-5)


def test_a_file_and_a_chain_of_nodes_give_what_the_wire_gives(runner: NodeRunner) -> None:
    """In kohya's spelling, through LoadLoRA with its strengths; and several at once as one after another."""
    place = Place(runner, "sd1")
    lora, second = place.lora("loha"), place.lora("dora")
    (artifact,) = runner.run(SaveSafetensors(filename="k", precision="fp32"), model=place.with_loras(lora))
    (runner.root / "k.safetensors").write_bytes(artifact.file.read_bytes())
    loaded = runner.run(LoadLoRA(file="k.safetensors", unet_strength=0.5, text_encoder_strength=0), model=place.model)
    direct = place.with_loras(replace(lora, unet_strength=0.5, text_encoder_strength=0.0))
    ours, theirs = (place.write(runner.run(BakeLoRA(), model=model)) for model in (loaded, direct))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6)
    chain = runner.run(BakeLoRA(), model=place.with_loras(second), checkpoint=runner.run(BakeLoRA(), model=direct))
    at_once = runner.run(BakeLoRA(), model=place.with_loras(*direct.adapters, second))
    assert chain == at_once


def test_a_saved_checkpoint_is_the_baked_model(runner: NodeRunner) -> None:
    """Back through SaveCheckpoint and LoadModel, as other programs read it."""
    place = Place(runner, "sdxl", "folder")
    model = place.with_loras(place.lora("dora"))
    baked = runner.run(AsModel(), checkpoint=runner.run(BakeLoRA(), model=model), model=place.model)
    (artifact,) = runner.run(SaveCheckpoint(), model=baked)
    (runner.root / "b.safetensors").write_bytes(artifact.file.read_bytes())
    with apply_adapters(model.adapters, place.opened(place.model)):
        expected = forward(place.opened(place.model))
    found = forward(place.opened(runner.run(LoadModel(model="b.safetensors"))))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_strength_zero_changes_nothing_and_half_precision_is_cast_once(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    model = place.with_loras(place.lora("dora"))
    still = place.write(runner.run(BakeLoRA(unet_strength=0, text_encoder_strength=0), model=model))
    assert all(torch.equal(tensor, still[name]) for name, tensor in place.plain().items())
    whole, half = (place.write(runner.run(BakeLoRA(), model=model), precision) for precision in ("fp32", "bf16"))
    assert all(torch.equal(half[name], tensor.to(half[name].dtype)) for name, tensor in whole.items())


def test_the_file_tells_what_was_baked(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    lora = place.lora("lora", name="Line style", unet_strength=0.5)
    (artifact,) = runner.run(SaveSafetensors(filename="m"), model=runner.run(BakeLoRA(), model=place.with_loras(lora)))
    with safe_open(artifact.file, "pt") as file:
        metadata = file.metadata()
    recipe = json.loads(metadata["sd_merge_recipe"])
    assert recipe["interp_method"] == "Bake LoRA"
    assert recipe["primary_model_hash"] == place.model.digest
    assert recipe["loras"] == [{"name": "Line style", "hash": "lora", "unet_strength": 0.5, "text_encoder_strength": 1.0}]
    assert metadata["modelspec.title"] == "folder + Line style * 0.5, text * 1"


def test_what_does_not_fit_is_named(runner: NodeRunner) -> None:
    place = Place(runner, "sd1")
    lora = place.lora("lora")
    make_model_folder(runner.root / "xl", "sdxl")
    with pytest.raises(InputError, match="for sd1 and the checkpoint is sdxl"):
        runner.run(BakeLoRA(), model=place.with_loras(lora), checkpoint=runner.run(LoadCheckpoint(path="xl")))
    tensors = load_file(lora.weights)
    for changed, message in (
        ({f"unet.nowhere.{n}.lora_{side}.weight": torch.zeros(2, 2) for n in range(3) for side in "AB"}, "none of the 3 layers"),
        ({name: torch.zeros(*tensor.shape, 2).flatten(1) for name, tensor in tensors.items()}, "does not fit the checkpoint's"),
    ):
        file = runner.root / "bad.safetensors"
        save_file(changed, file)
        with pytest.raises(InputError, match=message):
            runner.run(BakeLoRA(), model=place.with_loras(replace(lora, weights=file)))
    save_file({**tensors, "unet.nowhere.lora_A.weight": torch.zeros(2, 2)}, runner.root / "more.safetensors")
    word = TokenEmbedding(placeholder_token="<fox>", num_vectors=1)
    runner.run(BakeLoRA(), model=place.with_loras(replace(lora, weights=runner.root / "more.safetensors"), word))
    texts = " ".join(runner.messages.texts)
    assert "1 of" in texts
    assert "unet.nowhere" in texts
    assert "<fox> is no change of weights" in texts


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merge_becomes_a_model_with_every_part(runner: NodeRunner, family: Any) -> None:
    place = Place(runner, family, "file.safetensors")
    save_single_file(make_model_folder(runner.root / "b", family, seed=8), runner.root / "b.safetensors")
    one, two = (runner.run(LoadCheckpoint(path=f"{name}.safetensors")) for name in ("file", "b"))
    second = runner.run(LoadModel(model="b.safetensors"))
    model = runner.run(
        AsModel(name="all of b"), checkpoint=runner.run(MergeWeighted(ratio=1), models=[one, two]), model=place.model
    )
    assert model.adapters[0].label == "all of b"
    assert model.vae_digest != place.model.vae_digest
    loaded, expected = place.opened(place.model), place.opened(second)
    with apply_adapters(model.adapters, loaded):
        for ours, theirs in (
            (loaded.unet, expected.unet),
            (loaded.vae, expected.vae),
            *zip(loaded.text_encoders, expected.text_encoders, strict=True),
        ):
            found = dict(ours.named_parameters())
            assert all(torch.equal(found[name], parameter) for name, parameter in theirs.named_parameters())
    assert runner.run(AsModel(), checkpoint=one, model=place.model).adapters == ()
    with pytest.raises(InputError, match=f"the checkpoint is {family} and the model other"):
        runner.run(AsModel(), checkpoint=one, model=replace(place.model, family="other"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lora_over_trained_weights_is_baked_into_these(runner: NodeRunner, layout: str) -> None:
    place = Place(runner, "sd1", layout)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    save_file({name: torch.ones(32, 32), "unet.conv_in.bias": torch.ones(16)}, runner.root / "trained.safetensors")
    trained = WeightChange(name="tuned", weights=runner.root / "trained.safetensors")
    word = TokenEmbedding(placeholder_token="<fox>", num_vectors=1)
    model = place.with_loras(trained, place.lora("dora"), word)
    with apply_adapters(model.adapters[:2], place.opened(model)):
        expected = forward(place.opened(model))
    baked = runner.run(AsModel(), checkpoint=runner.run(BakeLoRA(), model=model), model=model)
    assert [adapter.kind for adapter in baked.adapters] == ["weights", "embedding"]
    with apply_adapters(baked.adapters[:1], place.opened(model)):
        torch.testing.assert_close(forward(place.opened(model)), expected, rtol=0, atol=1e-4)
