"""LoadLoRA: every spelling of every program comes to the same change of the same layer, and what cannot be read is refused."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph_runtime.reading import digest_file
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.adapters.load_lora import LoadLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.algorithms import weight_change
from nodes.diffusion.adapters.lora.apply import adapter_tensors, by_layer
from nodes.diffusion.adapters.lora.read import read_lora
from nodes.diffusion.adapters.lora.targets import layer_shapes
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import text_identity
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import FAMILIES, forward, open_model
from tests.diffusion.test_lora_deltas import ALGORITHMS, each_algorithm, family_adapter
from tests.graph_runtime.test_trust import as_repository
from tests.models import handle, make_model_folder
from tests.nodes.node_runner import NodeRunner

ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONVOLUTION = "down_blocks.1.resnets.0.conv1"
TEXT = "encoder.layers.1.self_attn.q_proj"


class Place:
    """A runner with a small model of one family, and random numbers."""

    def __init__(self, runner: NodeRunner, folder: Path) -> None:
        self.runner, self.folder = runner, folder
        self.model = handle(self.folder)
        runner.located = {self.model.digest: self.folder}
        self.generator = torch.Generator().manual_seed(4)
        self.shapes = {f"unet.{n}": p.shape for n, p in open_model(self.folder).unet.named_parameters()}

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def load(self, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None, **fields: Any) -> Any:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, self.runner.root / "x.safetensors", metadata)
        return self.read("x.safetensors", **fields)

    def read(self, file: str, **fields: Any) -> Any:
        return self.runner.run(LoadLoRA(file=file, **fields), model=self.model)

    def change(self, model: Any, layer: str) -> Tensor:
        """What the last adapter of a model adds to one layer's weight, to itself alone."""
        adapter = model.adapters[-1]
        assert isinstance(adapter, LowRankAdapter)
        (part, _, name), tensors = layer.partition("."), by_layer(adapter_tensors(adapter))
        loaded = open_model(self.folder)
        module = loaded.unet if part == "unet" else getattr(loaded.text_encoders[int(part[-1])], "text_model", None)
        weight = (module or loaded.text_encoders[int(part[-1])]).get_submodule(name).weight
        assert set(tensors) == {layer}
        return adapter.strength_on(part) * weight_change(tensors[layer], weight, adapter.scale)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: make_model_folder(root / family, family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def place(request, runner: NodeRunner, folders: dict[str, Path]) -> Place:
    return Place(runner, folders[request.param])


@pytest.fixture
def sd1(runner: NodeRunner, folders: dict[str, Path]) -> Place:
    return Place(runner, folders["sd1"])


STABILITY = {
    ATTENTION: "middle_block_1_transformer_blocks_0_attn1_to_q",
    OUT: "middle_block_1_transformer_blocks_0_attn2_to_out_0",
    CONVOLUTION: "input_blocks_3_0_in_layers_2",
    "up_blocks.0.attentions.1.proj_in": "output_blocks_1_1_proj_in",
    "up_blocks.0.upsamplers.0.conv": "output_blocks_1_2_conv",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_2_0_op",
    "up_blocks.1.resnets.1.conv_shortcut": "output_blocks_3_0_skip_connection",
    "conv_in": "input_blocks_0_0",
}


@pytest.mark.parametrize("layer", STABILITY)
def test_both_names_of_the_unet_s_blocks_are_known(place: Place, layer: str) -> None:
    shape = place.shapes[f"unet.{layer}.weight"]
    down, up = place.random(2, *shape[1:]), place.random(shape[0], 2)
    expected = (up @ down.flatten(1)).reshape(shape)
    for name in (layer.replace(".", "_"), STABILITY[layer]):
        model = place.load({f"lora_unet_{name}.lora_down.weight": down, f"lora_unet_{name}.lora_up.weight": up})
        torch.testing.assert_close(place.change(model, f"unet.{layer}"), expected, rtol=0, atol=1e-5)


def test_layers_that_change_nothing_are_told_of(sd1: Place) -> None:
    down, up = sd1.random(2, 32), sd1.random(32, 2)
    name, other = (layer.replace(".", "_") for layer in (ATTENTION, ATTENTION.replace("to_q", "to_v")))
    pairs = {f"lora_unet_{n}.lora_{leaf}.weight": t.clone() for n in (name, other) for leaf, t in (("down", down), ("up", up))}
    sd1.load(pairs)
    assert sd1.runner.messages.texts == []
    model = sd1.load({**pairs, f"lora_unet_{name}.alpha": torch.tensor(0.0)})
    assert model.adapters
    (text,) = sd1.runner.messages.texts
    assert text.startswith(f"1 of 2 layers change nothing, such as unet.{ATTENTION}: their alpha")


def test_sdxl_s_published_places() -> None:
    """Of the published SDXL base: two, two and two resnets, attention in the lower two blocks."""
    from nodes.diffusion.families.stable_diffusion.facts.lora_names import stability_names

    names = [f"down_blocks.{b}.resnets.{r}.conv1" for b in range(3) for r in range(2)]
    names += [f"down_blocks.{b}.attentions.{r}.proj_in" for b in (1, 2) for r in range(2)]
    names += [f"down_blocks.{b}.downsamplers.0.conv" for b in (0, 1)]
    names += [f"up_blocks.{b}.resnets.{r}.conv1" for b in range(3) for r in range(3)]
    names += [f"up_blocks.{b}.attentions.{r}.proj_in" for b in (0, 1) for r in range(3)]
    names += [f"up_blocks.{b}.upsamplers.0.conv" for b in (0, 1)]
    found = stability_names(names)
    assert found["down_blocks.1.attentions.0.proj_in"] == "input_blocks.4.1.proj_in"
    assert found["down_blocks.2.attentions.1.proj_in"] == "input_blocks.8.1.proj_in"
    assert found["down_blocks.1.downsamplers.0.conv"] == "input_blocks.6.0.op"
    assert found["up_blocks.0.attentions.2.proj_in"] == "output_blocks.2.1.proj_in"
    assert found["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.2.conv"
    assert found["up_blocks.1.upsamplers.0.conv"] == "output_blocks.5.2.conv"
    assert found["up_blocks.2.resnets.2.conv1"] == "output_blocks.8.0.in_layers.2"
    assert len(set(found.values())) == len(names)


LORA_SPELLINGS = {
    f"unet.{ATTENTION}": [
        ("lora_unet_" + ATTENTION.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("lycoris_" + ATTENTION.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("unet." + ATTENTION, ".lora.down.weight", ".lora.up.weight"),
        ("unet." + ATTENTION, ".lora_A.weight", ".lora_B.weight"),
        ("unet." + ATTENTION, ".lora_A.default.weight", ".lora_B.default.weight"),
        ("unet." + ATTENTION.replace("to_q", "processor.to_q"), "_lora.down.weight", "_lora.up.weight"),
        (ATTENTION.replace("to_q", "processor.to_q"), "_lora.down.weight", "_lora.up.weight"),
        ("base_model.model." + ATTENTION, ".lora_A.weight", ".lora_B.weight"),
        *(
            (prefix + "middle_block.1.transformer_blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight")
            for prefix in ("diffusion_model.", "model.diffusion_model.", "lora_unet.", "unet.", "")
        ),
    ],
    f"unet.{OUT}": [
        ("lora_unet_" + OUT.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("unet." + OUT.replace("to_out.0", "processor.to_out"), "_lora.down.weight", "_lora.up.weight"),
    ],
    f"text_encoder_0.{TEXT}": [
        ("lora_te_text_model_" + TEXT.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("lora_te1_text_model_" + TEXT.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("lora_te1_" + TEXT.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("text_encoder." + TEXT, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        ("text_encoder.text_model." + TEXT, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        ("text_encoder.text_model." + TEXT.replace("q_proj", "to_q"), "_lora.down.weight", "_lora.up.weight"),
        ("base_model.model.text_model." + TEXT, ".lora_A.weight", ".lora_B.weight"),
        ("text_encoders.clip_l.transformer.text_model." + TEXT, ".lora_down.weight", ".lora_up.weight"),
        ("text_encoders.clip_h.transformer.text_model." + TEXT, ".lora_down.weight", ".lora_up.weight"),
        ("clip_l.text_model." + TEXT, ".lora_down.weight", ".lora_up.weight"),
        ("lora_te1.text_model." + TEXT, ".lora_down.weight", ".lora_up.weight"),
    ],
    f"text_encoder_1.{TEXT}": [
        ("lora_te2_text_model_" + TEXT.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
        ("text_encoder_2.text_model." + TEXT, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        ("text_encoders.clip_g.transformer.text_model." + TEXT, ".lora_down.weight", ".lora_up.weight"),
        ("clip_g.text_model." + TEXT, ".lora_down.weight", ".lora_up.weight"),
    ],
}


@pytest.mark.parametrize("layer", LORA_SPELLINGS)
def test_every_spelling_of_a_lora_is_the_same_change(place: Place, layer: str) -> None:
    if layer.startswith("text_encoder_1") and place.model.family != "sdxl":
        pytest.skip("has one text encoder")
    width = 32 if layer.startswith("unet") or place.model.family != "sdxl" else 16
    down, up = place.random(3, width), place.random(width, 3)
    for prefix, down_name, up_name in LORA_SPELLINGS[layer]:
        tensors = {prefix + down_name: down, prefix + up_name: up}
        torch.testing.assert_close(place.change(place.load(tensors), layer), up @ down, rtol=0, atol=1e-5)
        if "." not in prefix:
            tensors[f"{prefix}.alpha"] = torch.tensor(1.5)
            torch.testing.assert_close(place.change(place.load(tensors), layer), 0.5 * up @ down, rtol=0, atol=1e-5)


def lora(place: Place, layer: str, rank: int = 3) -> dict[str, Tensor]:
    shape = place.shapes[f"unet.{layer}.weight"]
    return {"lora_down.weight": place.random(rank, *shape[1:]), "lora_up.weight": place.random(shape[0], rank, 1, 1)}


Kind = Callable[[Place], tuple[dict[str, Tensor], Tensor]]


def locon(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    leaves = lora(place, CONVOLUTION)
    product = torch.einsum("or,rihw->oihw", leaves["lora_up.weight"].flatten(1), leaves["lora_down.weight"])
    return {**leaves, "alpha": torch.tensor(6.0)}, 2 * product


def locon_tucker(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    up, middle, down = place.random(32, 3, 1, 1), place.random(3, 3, 3, 3), place.random(3, 16, 1, 1)
    expected = torch.einsum("opxy,pqhw,qizt->oihw", up, middle, down)
    leaves = {"lora_up.weight": up, "lora_mid.weight": middle, "lora_down.weight": down, "alpha": torch.tensor(1.5)}
    return leaves, 0.5 * expected


def loha(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    a1, b1, a2, b2 = place.random(32, 3), place.random(3, 144), place.random(32, 3), place.random(3, 144)
    leaves = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": torch.tensor(1.5)}
    return leaves, (0.5 * (a1 @ b1) * (a2 @ b2)).reshape(32, 16, 3, 3)


def loha_tucker(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    leaves = {f"hada_w{n}_{s}": place.random(3, size) for n in (1, 2) for s, size in (("a", 32), ("b", 16))}
    leaves |= {f"hada_t{n}": place.random(3, 3, 3, 3) for n in (1, 2)}
    one, two = (
        torch.einsum("pqhw,po,qi->oihw", leaves[f"hada_t{n}"], leaves[f"hada_w{n}_a"], leaves[f"hada_w{n}_b"]) for n in (1, 2)
    )
    return {**leaves, "alpha": torch.tensor(6.0)}, 2 * one * two


def kronecker(small: Tensor, large: Tensor) -> Tensor:
    return torch.cat([torch.cat([number * large for number in row], dim=1) for row in small], dim=0)


def lokr_whole(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    """Both factors whole: alpha means nothing."""
    small, large = place.random(4, 4), place.random(8, 4, 3, 3)
    return {"lokr_w1": small, "lokr_w2": large, "alpha": torch.tensor(99.0)}, kronecker(small, large)


def lokr_low_rank(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    small, a, b = place.random(4, 4), place.random(8, 2), place.random(2, 36)
    expected = 3 * kronecker(small, (a @ b).reshape(8, 4, 3, 3))
    return {"lokr_w1": small, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(6.0)}, expected


def lokr_both_low_rank(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    one_a, one_b, a, b = place.random(4, 2), place.random(2, 4), place.random(8, 2), place.random(2, 36)
    expected = 3 * kronecker(one_a @ one_b, (a @ b).reshape(8, 4, 3, 3))
    leaves = {"lokr_w1_a": one_a, "lokr_w1_b": one_b, "lokr_w2_a": a, "lokr_w2_b": b}
    return {**leaves, "alpha": torch.tensor(6.0)}, expected


def lokr_tucker(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    small, middle, a, b = place.random(4, 4), place.random(2, 2, 3, 3), place.random(2, 8), place.random(2, 4)
    expected = 3 * kronecker(small, torch.einsum("pqhw,po,qi->oihw", middle, a, b))
    leaves = {"lokr_w1": small, "lokr_t2": middle, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(6.0)}
    return leaves, expected


def dora(place: Place, magnitude: Tensor, axes: tuple[int, ...]) -> tuple[dict[str, Tensor], Tensor]:
    leaves, product = locon(place)
    weight = open_model(place.folder).unet.get_submodule(CONVOLUTION).weight.detach()
    changed = weight + product
    expected = magnitude * changed / changed.square().sum(axes, keepdim=True).sqrt() - weight
    return {**leaves, "dora_scale": magnitude}, expected


def dora_along_inputs(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    return dora(place, place.random(1, 16, 1, 1).abs(), (0, 2, 3))


def dora_along_outputs(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    return dora(place, place.random(32, 1, 1, 1).abs(), (1, 2, 3))


def whole_difference(place: Place) -> tuple[dict[str, Tensor], Tensor]:
    diff = place.random(32, 16, 3, 3)
    return {"diff": diff}, diff


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        locon, locon_tucker, loha, loha_tucker, lokr_whole, lokr_low_rank, lokr_both_low_rank, lokr_tucker,
        dora_along_inputs, dora_along_outputs, whole_difference,
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_lycoris_is_read_with_its_scale(place: Place, kind: str) -> None:
    leaves, expected = KINDS[kind](place)
    prefix = "lora_unet_" + CONVOLUTION.replace(".", "_")
    tensors = {f"{prefix}.{leaf}": tensor for leaf, tensor in leaves.items()}
    model = place.load(tensors)
    scale = float(expected.abs().max())
    torch.testing.assert_close(place.change(model, f"unet.{CONVOLUTION}"), expected, rtol=0, atol=1e-6 * max(scale, 1))
    loaded, reference = open_model(place.folder), open_model(place.folder)
    with torch.no_grad():
        reference.unet.get_submodule(CONVOLUTION).weight += 0.5 * expected
    with apply_adapters([replace(model.adapters[0], unet_strength=0.5)], loaded):
        torch.testing.assert_close(forward(loaded), forward(reference), rtol=1e-4, atol=1e-4)


def test_a_difference_of_biases_acts(sd1: Place) -> None:
    prefix = "lora_unet_" + CONVOLUTION.replace(".", "_")
    model = sd1.load({f"{prefix}.diff_b": sd1.random(32)})
    loaded, reference = open_model(sd1.folder), open_model(sd1.folder)
    with torch.no_grad():
        reference.unet.get_submodule(CONVOLUTION).bias += 2 * load_file(sd1.runner.root / "x.safetensors")[f"{prefix}.diff_b"]
    with apply_adapters([replace(model.adapters[0], unet_strength=2.0)], loaded):
        torch.testing.assert_close(forward(loaded), forward(reference), rtol=0, atol=1e-4)


def test_peft_s_magnitude_is_along_outputs(sd1: Place) -> None:
    down, up, magnitude = sd1.random(3, 32), sd1.random(32, 3), sd1.random(32).abs()
    prefix = f"unet.{ATTENTION}"
    model = sd1.load(
        {
            f"{prefix}.lora_A.weight": down,
            f"{prefix}.lora_B.weight": up,
            f"{prefix}.lora_magnitude_vector": magnitude,
        }
    )
    weight = open_model(sd1.folder).unet.get_submodule(ATTENTION).weight.detach()
    changed = weight + up @ down
    expected = magnitude[:, None] * changed / changed.norm(dim=1, keepdim=True) - weight
    torch.testing.assert_close(sd1.change(model, prefix), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"lora_alpha": 6}, 2.0),
        ({"lora_alpha": 3, "use_rslora": True}, 3**0.5),
        ({"lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 12}}, 4.0),
        ({"lora_alpha": 6, "alpha_pattern": {"attn2.to_q": 12}}, 2.0),
        ({"lora_alpha": 6, "alpha_pattern": {"q": 12}}, 2.0),
        ({"lora_alpha": 6, "alpha_pattern": {r"^mid_block\..*attn1\.to_q": 12}}, 4.0),
    ],
)
def test_alpha_of_peft_s_configurations_counts(sd1: Place, settings: dict[str, Any], scale: float) -> None:
    down, up = sd1.random(3, 32), sd1.random(32, 3)
    stated = json.dumps({f"unet.{name}": value for name, value in settings.items()} | {"text_encoder.lora_alpha": 77})
    prefix = f"unet.{ATTENTION}"
    tensors = {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}
    model = sd1.load(tensors, {"lora_adapter_metadata": stated})
    torch.testing.assert_close(sd1.change(model, prefix), scale * up @ down, rtol=0, atol=1e-5)
    folder = sd1.runner.root / "peft"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "r": 3, "peft_type": "LORA"}))
    save_file(
        {f"base_model.model.{ATTENTION}.lora_{n}.weight": t for n, t in (("A", down), ("B", up))},
        folder / "adapter_model.safetensors",
    )
    model = sd1.read("peft/adapter_model.safetensors")
    torch.testing.assert_close(sd1.change(model, prefix), scale * up @ down, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pattern", ["(?=a)b", "(" * 9 + "a" + ")*" * 9, "a*" * 300])
def test_a_pattern_that_cannot_be_matched_in_good_time_is_named(sd1: Place, pattern: str) -> None:
    tensors = {f"unet.{ATTENTION}.lora_A.weight": sd1.random(3, 32), f"unet.{ATTENTION}.lora_B.weight": sd1.random(32, 3)}
    with pytest.raises(InputError, match="pattern") as caught:
        sd1.load(tensors, {"lora_adapter_metadata": json.dumps({"unet.alpha_pattern": {pattern: 4}})})
    assert caught.value.remedy


def test_each_layer_may_have_its_own_rank_and_alpha(sd1: Place) -> None:
    """diffusers gives the second layer a quarter of its scale here."""
    tensors: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for name, rank, alpha in ((ATTENTION, 4, 2.0), (OUT, 8, 8.0)):
        leaves, prefix = lora(sd1, name, rank), "lora_unet_" + name.replace(".", "_")
        tensors |= {f"{prefix}.{leaf}": tensor for leaf, tensor in leaves.items()} | {f"{prefix}.alpha": torch.tensor(alpha)}
        expected[name] = alpha / rank * leaves["lora_up.weight"].flatten(1) @ leaves["lora_down.weight"].flatten(1)
    model = sd1.load(tensors)
    loaded, reference = open_model(sd1.folder), open_model(sd1.folder)
    with torch.no_grad():
        for name, change in expected.items():
            reference.unet.get_submodule(name).weight += change
    with apply_adapters(model.adapters, loaded):
        torch.testing.assert_close(forward(loaded), forward(reference), rtol=0, atol=1e-4)
    sd1.runner.located = {model.digest: sd1.folder}
    (artifact,) = sd1.runner.run(SaveSafetensors(precision="fp32"), model=model)
    saved = load_file(artifact.file)
    assert float(saved["lora_unet_" + OUT.replace(".", "_") + ".alpha"]) == 8.0
    with pytest.raises(InputError) as caught:
        sd1.runner.run(SaveSafetensors(layout="diffusers"), model=model)
    assert caught.value.field == "layout"


@each_algorithm
def test_what_is_saved_loads_back_as_the_same_change(place: Place, tmp_path: Path, algorithm: str) -> None:
    runner = place.runner
    strengths = {"unet_strength": 0.5, "text_encoder_strength": 0.25} if algorithm != "dora" else {}
    adapter = family_adapter(place.folder, algorithm, tmp_path / "w", **strengths)
    trained = replace(place.model, adapters=(adapter,))
    (artifact,) = runner.run(SaveSafetensors(precision="fp32"), model=trained)
    (runner.root / "saved.safetensors").write_bytes(artifact.file.read_bytes())
    loaded = place.read("saved.safetensors")
    assert not runner.messages.texts
    assert loaded.adapters[0].algorithm == ("lora" if algorithm == "rslora" else algorithm)
    ours = by_layer(adapter_tensors(adapter))
    theirs = by_layer(adapter_tensors(loaded.adapters[0]))
    assert ours.keys() == theirs.keys()
    model = open_model(place.folder)
    with apply_adapters([adapter], model):
        before = forward(model)
    with apply_adapters(loaded.adapters, model):
        torch.testing.assert_close(forward(model), before, rtol=0, atol=1e-5)
    assert text_identity(loaded) != text_identity(place.model)


def test_a_dora_s_file_knows_no_strength(sd1: Place, tmp_path: Path) -> None:
    adapter = family_adapter(sd1.folder, "dora", tmp_path / "w", unet_strength=0.5)
    with pytest.raises(InputError, match="strength"):
        sd1.runner.run(SaveSafetensors(), model=replace(sd1.model, adapters=(adapter,)))


def test_strengths_are_for_unet_and_text_encoders_apart(sd1: Place) -> None:
    tensors = {f"lora_unet_{ATTENTION.replace('.', '_')}.{leaf}": t for leaf, t in lora(sd1, ATTENTION).items()}
    text = {"lora_down.weight": sd1.random(3, 32), "lora_up.weight": sd1.random(32, 3)}
    tensors |= {f"lora_te_text_model_{TEXT.replace('.', '_')}.{leaf}": tensor for leaf, tensor in text.items()}
    both = sd1.load(tensors, unet_strength=0.5, text_encoder_strength=2)
    assert (both.adapters[0].strength_on("unet"), both.adapters[0].strength_on("text_encoder_0")) == (0.5, 2)
    assert both.adapters[0].label == "x * 0.5, text * 2"
    unet_only = sd1.load(tensors, text_encoder_strength=0)
    assert not unet_only.adapters[0].text_encoder_targets
    assert text_identity(unet_only) == text_identity(sd1.model)
    assert not sd1.load(tensors, unet_strength=0).adapters[0].unet_targets
    assert sd1.load(tensors, unet_strength=0, text_encoder_strength=0) == sd1.model
    twice = sd1.runner.run(LoadLoRA(file="x.safetensors"), model=both)
    assert len(twice.adapters) == 2


def test_what_is_not_known_is_counted(sd1: Place) -> None:
    tensors = {f"lora_unet_{ATTENTION.replace('.', '_')}.{leaf}": t for leaf, t in lora(sd1, ATTENTION).items()}
    sd1.load(tensors | {"lora_te3_x.lora_down.weight": sd1.random(2, 2), "something": sd1.random(1)})
    (message,) = sd1.runner.messages.texts
    assert "2 tensors" in message


def bad(place: Place, kind: str) -> Any:
    prefix = f"lora_unet_{ATTENTION.replace('.', '_')}"
    good = {f"{prefix}.{leaf}": tensor for leaf, tensor in lora(place, ATTENTION).items()}
    path = place.runner.root / "bad.safetensors"
    if kind == "no file":
        return place.read("missing.safetensors")
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"lora": [1]}))
        return place.read(path.name)
    if kind == "cut off":
        save_file(good, path)
        path.write_bytes(path.read_bytes()[:-10])
        return place.read(path.name)
    changed = {
        "another family": {f"{prefix}.lora_down.weight": place.random(3, 64), f"{prefix}.lora_up.weight": place.random(32, 3)},
        "another program": {"double_blocks.0.img_attn.lora_A.weight": place.random(3, 3)},
        "half": {f"{prefix}.lora_down.weight": place.random(3, 32)},
        "rank that differs": {f"{prefix}.lora_down.weight": place.random(3, 32), f"{prefix}.lora_up.weight": place.random(32, 4)},
        "not finite": {name: tensor * torch.nan for name, tensor in good.items()},
        "long alpha": good | {f"{prefix}.alpha": place.random(4)},
        "no numbers": good | {f"{prefix}.lora_down.weight": torch.tensor(1.0)},
        "other magnitude": good | {f"{prefix}.dora_scale": place.random(1, 7)},
        "empty": {},
    }
    metadata = {"lora_adapter_metadata": "{"} if kind == "damaged metadata" else None
    return place.load(changed.get(kind, good), metadata)


KINDS_OF_BAD = [
    "no file", "pickle", "cut off", "another family", "another program", "half", "rank that differs", "not finite",
    "long alpha", "no numbers", "other magnitude", "empty", "damaged metadata",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS_OF_BAD)
def test_what_cannot_be_read_is_refused_with_field_and_remedy(sd1: Place, kind: str) -> None:
    with pytest.raises(InputError) as caught:
        bad(sd1, kind)
    assert caught.value.field == "file"
    assert caught.value.remedy
    assert str(sd1.runner.root) not in str(caught.value)


def test_a_whole_model_is_told_from_a_lora_of_another_family(sd1: Place) -> None:
    with pytest.raises(InputError, match="holds no LoRA, but tensors, such as first_stage_model") as caught:
        sd1.load(
            {"first_stage_model.decoder.conv_in.weight": sd1.random(2, 2), "model.diffusion_model.out.2.bias": sd1.random(2)}
        )
    assert "LoadModel" in caught.value.remedy


@pytest.mark.parametrize("layers", [{}, {"decompose_factor": 4, "r": 8}, {"rank_pattern": {".*": 2}}])
@pytest.mark.parametrize("kind", ["LoHaConfig", "LoKrConfig"])
def test_loha_and_lokr_of_peft_change_what_peft_changes(sd1: Place, kind: str, layers: dict[str, Any]) -> None:
    if kind == "LoHaConfig" and "decompose_factor" in layers:
        layers = {"r": 8}
    unet = open_model(sd1.folder).unet
    own = unet.get_submodule(ATTENTION).weight.detach().clone()
    config = getattr(peft, kind)(**{"r": 4, "alpha": 16, "target_modules": [ATTENTION], "init_weights": False, **layers})
    wrapped = peft.get_peft_model(unet, config)
    wrapped.save_pretrained(sd1.runner.root / "peft")
    wrapped.merge_and_unload()
    change = sd1.change(sd1.read("peft/adapter_model.safetensors"), f"unet.{ATTENTION}")
    torch.testing.assert_close(change, unet.get_submodule(ATTENTION).weight - own, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("leaf", "kind"), [("oft_blocks", "OFT"), ("ia3_l", "(IA)3"), ("bm.weight", "GLoRA")])
def test_adapters_of_other_kinds_are_named(sd1: Place, leaf: str, kind: str) -> None:
    prefix = f"lora_unet_{ATTENTION.replace('.', '_')}"
    with pytest.raises(InputError) as caught:
        sd1.load({f"{prefix}.{leaf}": sd1.random(4, 8, 8), f"{prefix}.alpha": torch.tensor(1.0)})
    assert kind in str(caught.value)
    assert "LoHa" in caught.value.remedy


def test_a_lora_of_four_channels_is_laid_over_an_inpainting_model_without_its_first_layer(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "folder", "sd1", in_channels=9)
    shapes = layer_shapes(handle(folder), folder)
    held = {"unet.conv_in": (shapes["unet.conv_in"][0], 4, 3, 3), f"unet.{ATTENTION}": shapes[f"unet.{ATTENTION}"]}
    spelled = {f"lora_{name.replace('.', '_')}.diff": torch.ones(shape) for name, shape in held.items()}
    save_file(spelled, tmp_path / "l.safetensors")
    read = read_lora(tmp_path / "l.safetensors", shapes, "sd1")
    assert list(read.layers) == [f"unet.{ATTENTION}"]
    assert read.unknown == ("unet.conv_in",)


def test_every_algorithm_has_a_test() -> None:
    from nodes.diffusion.handles.adapters import ALGORITHM_NAMES

    assert set(ALGORITHMS) == set(ALGORITHM_NAMES)


@pytest.mark.parametrize("inside", [True, False], ids=["in the workspace", "named with --set"])
def test_a_repository_of_hugging_face_s_cache_opens(tmp_path: Path, inside: bool) -> None:
    (workspace := tmp_path / "ws").mkdir()
    repository = (workspace if inside else tmp_path) / "models--me--lora"
    contents = {"adapter_model.safetensors": "weights", "adapter_config.json": '{"lora_alpha": 6}'}
    as_repository(repository, contents)
    files = OutsideReader(Workspace(workspace, trusted=() if inside else (repository,)), digest_file)
    found = LoadLoRA(file=repository.name if inside else str(repository)).fingerprint(files)
    weights, config = (hashlib.sha256(text.encode()).hexdigest() for text in contents.values())
    assert found == {"file": weights, "name": "models--me--lora", "config": config}
