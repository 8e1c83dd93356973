"""Hypernetworks: what they do to keys and values, how they begin, what is left of them, and their files in other readers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.changed_weights import replaced
from nodes.diffusion.adapters.hypernetwork.apply import attention_layers, attention_names
from nodes.diffusion.adapters.hypernetwork.files import a1111_hypernetwork, read_hypernetwork
from nodes.diffusion.adapters.hypernetwork.modules import ACTIVATIONS
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import Hypernetwork
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.training.denoising_task import DenoisingTask, train
from tests.diffusion.test_train import Bench, make_bench
from tests.models import WIDTH, fresh_model, handle, make_model_folder, random_adapter

FAMILIES = ["sd1", "sd2", "sdxl"]
COMFY = {
    "linear": nn.Identity(), "relu": nn.ReLU(), "leakyrelu": nn.LeakyReLU(), "elu": nn.ELU(), "swish": nn.Hardswish(),
    "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "softsign": nn.Softsign(), "mish": nn.Mish(),
}  # fmt: skip
INITS = ["Normal", "XavierUniform", "XavierNormal", "KaimingUniform", "KaimingNormal"]


@pytest.fixture(params=FAMILIES)
def bench(request, tmp_path: Path) -> Bench:
    return make_bench(tmp_path, request.param)


def predict(model: ActiveModel) -> Tensor:
    """What the UNet says to fixed noise and text."""
    generator = torch.Generator().manual_seed(1)
    latents, hidden = (torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 8), (2, 7, WIDTH)))
    added = {"text_embeds": hidden[:, 0], "time_ids": torch.ones(2, 6)} if model.info.family == "sdxl" else None
    with torch.no_grad():
        return model.unet(latents, 10, encoder_hidden_states=hidden, added_cond_kwargs=added).sample


def random_hypernetwork(bench: Bench, file: Path, **fields: Any) -> Hypernetwork:
    """A hypernetwork whose values are random, as if it had been trained."""
    form = Hypernetwork(**fields)
    generator = torch.Generator().manual_seed(2)
    with apply_adapters([form], bench.model) as applied:
        tensors = {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in applied[0].items()}
    save_file(tensors, file)
    return replace(form, weights=file)


@pytest.mark.parametrize("with_lora", [False, True])
def test_keys_and_values_come_from_the_changed_context(bench: Bench, tmp_path: Path, with_lora: bool) -> None:
    """Every attention against the sum written out, alone and with a LoRA on the same layers."""
    form = random_hypernetwork(bench, tmp_path / "h", activation_func="relu", strength=0.7)
    below = [random_adapter(bench.folder, tmp_path / "l", text_encoder=False)] if with_lora else []
    changed: dict[tuple[str, str], Tensor] = {}
    seen: dict[tuple[str, str], Tensor] = {}
    with apply_adapters([form, *below], bench.model) as applied, torch.no_grad():
        for name, places in attention_layers(bench.model.unet).items():
            context = torch.randn(2, 5, int(name.split("_")[1]))
            for letter in "kv":
                names = ("0.weight", "0.bias", "2.weight", "2.bias")
                w1, b1, w2, b2 = (applied[0][f"unet.{name}.{letter}.linear.{inner}"] for inner in names)
                for place, attention in places.items():
                    seen[place, letter] = getattr(attention, f"to_{letter}")(context)
                    changed[place, letter] = context + 0.7 * (torch.relu(context @ w1.T + b1) @ w2.T + b2)
    with apply_adapters(below, bench.model), torch.no_grad():
        for (place, letter), context in changed.items():
            layer = bench.model.unet.get_submodule(f"{place}.to_{letter}")
            torch.testing.assert_close(seen[place, letter], layer(context))
    assert len(seen) == 2 * sum(map(len, attention_layers(bench.model.unet).values()))


def test_text_and_self_attention_of_one_width_have_their_own_nets(tmp_path: Path) -> None:
    """The small models' text is as wide as their inner UNet, as the bundled model's is."""
    folder = make_model_folder(tmp_path / "m", "sd1")
    assert attention_names(folder) == ["self_32", "text_32"]
    places = attention_layers(fresh_model(folder).unet)
    assert {name.rpartition(".")[2] for name in places["self_32"]} == {"attn1"}
    assert {name.rpartition(".")[2] for name in places["text_32"]} == {"attn2"}


def test_a_model_of_another_width_refuses_it(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    form = random_hypernetwork(bench, tmp_path / "h")
    tensors = {name.replace("text_32", "text_48"): tensor for name, tensor in load_file(tmp_path / "h").items()}
    save_file(tensors, tmp_path / "other")
    with pytest.raises(InputError, match="48 wide; this model's are 32 wide"):
        apply_adapters([replace(form, weights=tmp_path / "other")], bench.model).__enter__()
    assert not hooks(bench.model)


@pytest.mark.parametrize(
    ("blocks", "text", "names"),
    [
        ((32, 64, 128, 128), 96, {"self_32", "self_64", "self_128", "text_96"}),
        ((32, 64, 128, 128), 160, {"self_32", "self_64", "self_128", "text_160"}),
    ],
)
def test_the_widths_are_the_model_s(blocks: tuple[int, ...], text: int, names: set[str]) -> None:
    """Stable Diffusion's own layout at a tenth of its width; SD2's text is wider than SD1's."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=blocks, cross_attention_dim=text)
    assert set(attention_layers(unet)) == names


def test_sdxl_has_no_attention_at_its_outer_width() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=256,
            transformer_layers_per_block=(1, 2, 3),
            use_linear_projection=True,
        )
    assert set(attention_layers(unet)) == {"self_64", "self_128", "text_256"}


def test_strength_zero_is_the_base_bit_for_bit_and_one_is_not(bench: Bench, tmp_path: Path) -> None:
    base = predict(bench.model)
    form = random_hypernetwork(bench, tmp_path / "h")
    with apply_adapters([replace(form, strength=0.0)], bench.model):
        assert torch.equal(predict(bench.model), base)
    with apply_adapters([form], bench.model):
        assert not torch.allclose(predict(bench.model), base, atol=1e-3)
    assert torch.equal(predict(bench.model), base)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_it_begins_near_the_base_and_every_parameter_has_a_gradient(tmp_path: Path, init: str, layer_norm: bool) -> None:
    bench = make_bench(tmp_path, "sd1")
    base = predict(bench.model)
    form = Hypernetwork(activation_func="softsign", weight_initialization=init, is_layer_norm=layer_norm)
    with apply_adapters([form], bench.model) as applied:
        assert (predict(bench.model) - base).norm() < 0.02 * base.norm()
        task = DenoisingTask(bench.model, DenoisingSettings(batch_size=2), bench.latents, bench.embeddings)
        for parameter in applied[0].values():
            parameter.requires_grad_(True)
        task.loss(0, 0).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in applied[0].values())
        assert len(applied[0]) == 2 * len(attention_names(bench.folder)) * (8 if layer_norm else 4)


def test_first_values_are_the_seed_s_and_disturb_no_other_draw(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    values = []
    for seed in (1, 1, 2):
        with apply_adapters([Hypernetwork(seed=seed)], bench.model) as applied:
            values.append({name: tensor.clone() for name, tensor in applied[0].items()})
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])
    assert not torch.equal(values[0]["unet.text_32.k.linear.0.weight"], values[2]["unet.text_32.k.linear.0.weight"])
    assert values[0]["unet.text_32.k.linear.0.weight"].std() == pytest.approx(0.01, rel=0.1)


def hooks(model: ActiveModel) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.unet.modules())


def test_no_hook_is_left_after_an_exception(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    base = predict(bench.model)

    def stop_inside() -> None:
        with apply_adapters([Hypernetwork()], bench.model):
            assert hooks(bench.model)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_inside()
    assert not hooks(bench.model)
    assert torch.equal(predict(bench.model), base)


def trained(bench: Bench, form: Hypernetwork, **changes: Any) -> dict[str, Tensor]:
    settings = DenoisingSettings(**{"max_steps": 3, "batch_size": 2, "learning_rate": 1e-2, **changes})
    with apply_adapters([form], bench.model) as applied:
        task = DenoisingTask(bench.model, settings, bench.latents, bench.embeddings)
        return train(task, applied[0], settings, precision="fp32", report=lambda done: None, checkpoint=None)


def test_every_parameter_is_trained_and_the_model_stays(bench: Bench) -> None:
    before = {name: tensor.clone() for name, tensor in bench.model.unet.state_dict().items()}
    with apply_adapters([Hypernetwork()], bench.model) as applied:
        first = {name: tensor.clone() for name, tensor in applied[0].items()}
    after = trained(bench, Hypernetwork())
    assert all(not torch.equal(first[name], after[name]) for name in first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in bench.model.unet.state_dict().items())
    assert bench.model.training_step is None
    assert not hooks(bench.model)


def test_accumulation_equals_the_larger_batch(bench: Bench) -> None:
    whole = trained(bench, Hypernetwork(), batch_size=4)
    parts = trained(bench, Hypernetwork(), batch_size=1, gradient_accumulation_steps=4)
    # AdamW's first steps turn tiny differences of gradients near zero into differences of the size of the learning rate
    assert all(torch.allclose(whole[name], parts[name], atol=2e-3) for name in whole)


DROPPING = Hypernetwork(layer_structure=(1, 2, 2, 1), dropout_structure=(0, 0.5, 0.25, 0), activation_func="relu")


def test_dropout_acts_in_training_alone_by_seed_and_step(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    same, again, other = (trained(bench, form) for form in (DROPPING, DROPPING, replace(DROPPING, dropout_structure=(0,) * 4)))
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not all(torch.equal(same[name], other.get(name, same[name] + 1)) for name in same)
    with apply_adapters([DROPPING], bench.model):
        task = DenoisingTask(bench.model, DenoisingSettings(batch_size=2), bench.latents, bench.embeddings)
        losses = [float(task.loss(step, 0).detach()) for step in (0, 0)]
        assert losses[0] == losses[1]
        assert torch.equal(predict(bench.model), predict(bench.model))


def test_dropout_and_checkpointed_activations_agree(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    plain, checkpointed = trained(bench, DROPPING), trained(bench, DROPPING, gradient_checkpointing=True)
    assert all(torch.allclose(plain[name], checkpointed[name], atol=1e-5) for name in plain)


def test_the_dropout_structure_is_honoured(tmp_path: Path) -> None:
    """F8: shares given as a list are those that are dropped, where they are said to be."""
    bench = make_bench(tmp_path, "sd1")
    with apply_adapters([DROPPING], bench.model) as applied:
        assert {name.split(".linear.")[1] for name in applied[0]} == {
            f"{n}.{part}" for n in (0, 3, 6) for part in ("weight", "bias")
        }
        bench.model.training_step = (0, 0)
        attention = next(iter(attention_layers(bench.model.unet)["self_32"].values()))
        seen = []
        with torch.no_grad():
            for name, parameter in applied[0].items():
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        ones = nn.Parameter(torch.eye(32))
        with replaced(attention.to_k, {"weight": ones}), torch.enable_grad():
            seen.append(attention.to_k(torch.ones(64, 50, 32)).detach())
        bench.model.training_step = None
    # 64 numbers of 32 each, half of them kept and doubled; then 64 of that sum, three quarters kept and enlarged by 4/3
    kept = seen[0].flatten() - 1
    assert kept.mean() == pytest.approx(32 * 64 * 64, rel=0.01)
    assert kept.std() / kept.mean() > 0.05


def as_comfy(content: dict[str, Any], width: int, index: int) -> nn.Sequential:
    """Rebuild a net as ComfyUI does: from the weights' order and the fields, without looking at the numbers in the names."""
    weights = content[width][index]
    names = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
    step = 2 if content.get("is_layer_norm", False) else 1
    layers: list[nn.Module] = []
    for place in range(0, len(names), step):
        for offset, kind in enumerate((nn.Linear, nn.LayerNorm)[:step]):
            weight, bias = (weights[f"{names[place + offset]}.{part}"] for part in ("weight", "bias"))
            layer: Any = kind(*weight.shape[::-1])
            layer.load_state_dict({"weight": weight, "bias": bias})
            layers.append(layer)
            if not offset and (place < len(names) - 1 or content.get("activate_output", False)):
                layers.append(COMFY[content["activation_func"]])
    return nn.Sequential(*layers)


def written(bench: Bench, form: Hypernetwork, path: Path) -> dict[Any, Any]:
    path.write_bytes(a1111_hypernetwork(form, "style", handle(bench.folder), "{}"))
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", COMFY)
def test_comfyui_rebuilds_the_same_nets(tmp_path: Path, activation: str, layer_norm: bool) -> None:
    bench = make_bench(tmp_path, "sd1")
    form = random_hypernetwork(
        bench, tmp_path / "h", activation_func=activation, is_layer_norm=layer_norm, activate_output=layer_norm,
        layer_structure=(1, 1.5, 2, 1), dropout_structure=(0, 0.3, 0, 0),
    )  # fmt: skip
    content = written(bench, form, tmp_path / "style.pt")
    context = torch.randn(2, 5, 32)
    with apply_adapters([form], bench.model), torch.no_grad():
        attention = next(iter(attention_layers(bench.model.unet)["self_32"].values()))
        for index, letter in enumerate("kv"):
            layer = getattr(attention, f"to_{letter}")
            changed = context + as_comfy(content, 32, index)(context)
            torch.testing.assert_close(layer(context), nn.functional.linear(changed, layer.weight))


FIELDS = {
    "step", "name", "layer_structure", "activation_func", "is_layer_norm", "weight_initialization", "use_dropout",
    "dropout_structure", "last_layer_dropout", "activate_output", "sd_checkpoint", "sd_checkpoint_name", "optional_info",
}  # fmt: skip


def test_a_file_holds_every_field_and_comes_back_exactly(bench: Bench, tmp_path: Path) -> None:
    form = random_hypernetwork(
        bench, tmp_path / "h", layer_structure=(1, 2, 2, 1), activation_func="mish", is_layer_norm=True, steps=9,
        dropout_structure=(0, 0.3, 0.1, 0), weight_initialization="KaimingNormal", activate_output=True,
    )  # fmt: skip
    content = written(bench, form, tmp_path / "style.pt")
    assert {key for key in content if isinstance(key, str)} - {"text_32"} == FIELDS
    assert {key for key in content if isinstance(key, int)} == {32}
    assert content["layer_structure"] == [1, 2, 2, 1]
    assert content["use_dropout"] is content["last_layer_dropout"] is content["activate_output"] is True
    back, tensors = read_hypernetwork(tmp_path / "style.pt", attention_names(bench.folder))
    assert replace(back, weights=form.weights) == form
    save_file(tensors, tmp_path / "again")
    again = a1111_hypernetwork(replace(back, weights=tmp_path / "again"), "style", handle(bench.folder), "{}")
    assert again == (tmp_path / "style.pt").read_bytes()


def test_the_archive_holds_only_what_automatic1111_allows(tmp_path: Path) -> None:
    import re
    import zipfile

    bench = make_bench(tmp_path, "sd1")
    written(bench, random_hypernetwork(bench, tmp_path / "h"), tmp_path / "style.pt")
    allowed = re.compile(r"^([^/]+)/((data/\d+)|version|(data\.pkl))$")
    assert all(allowed.match(name) for name in zipfile.ZipFile(tmp_path / "style.pt").namelist())


def old_file(path: Path, **changes: Any) -> Path:
    """A file as NovelAI's first: two layers without a name for what stands between them, and nothing but weights."""
    generator = torch.Generator().manual_seed(3)

    def net() -> dict[str, Tensor]:
        shapes = {"linear1.weight": (64, 32), "linear1.bias": (64,), "linear2.weight": (32, 64), "linear2.bias": (32,)}
        return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    torch.save({32: (net(), net()), **changes}, path)
    return path


def test_missing_fields_are_as_automatic1111_takes_them(tmp_path: Path) -> None:
    form, tensors = read_hypernetwork(old_file(tmp_path / "old.pt"), ["self_32", "text_32"])
    assert form == Hypernetwork(activate_output=True)
    assert set(tensors) == {
        f"unet.{net}.{letter}.linear.{layer}.{part}"
        for net in ("self_32", "text_32") for letter in "kv" for layer in (0, 1) for part in ("weight", "bias")
    }  # fmt: skip
    assert torch.equal(tensors["unet.self_32.k.linear.0.weight"], tensors["unet.text_32.k.linear.0.weight"])
    dropping, _ = read_hypernetwork(old_file(tmp_path / "drop.pt", use_dropout=True, last_layer_dropout=True), ["self_32"])
    assert dropping.dropout_structure == (0, 0.3, 0)
    assert not ACTIVATIONS["linear"]


BAD: dict[str, tuple[dict[Any, Any], str]] = {
    "a width the model lacks": ({320: ({}, {})}, "320 wide"),
    "another structure": ({"layer_structure": [1, 3, 1]}, "not what its fields describe"),
    "a structure with another end": ({"layer_structure": [1, 2, 2]}, "begins and ends with 1"),
    "an unknown activation": ({"activation_func": "__import__"}, "not known"),
    "one net of two": ({32: ({},)}, "not what its fields describe"),
    "no pair": ({32: "x"}, "not what its fields describe"),
    "no tensors": ({32: ({"linear.0.weight": 3}, [])}, "not what its fields describe"),
    "a huge layer": ({"layer_structure": [1, 1e12, 1]}, "layer_structure"),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, kind: str) -> None:
    changes, message = BAD[kind]
    torch.save({**torch.load(old_file(tmp_path / "old.pt")), **changes}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match=message) as caught:
        read_hypernetwork(tmp_path / "bad.pt", ["self_32"])
    assert caught.value.field == "file"
    assert caught.value.remedy


class Surprise:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize("content", [b"", b"not a file", None], ids=["empty", "text", "code"])
def test_damaged_files_and_code_are_refused(tmp_path: Path, content: bytes | None, capsys) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(content) if content is not None else torch.save({"x": Surprise()}, path)
    with pytest.raises(InputError, match="cannot be read"):
        read_hypernetwork(path, ["self_32"])
    assert not capsys.readouterr().out


def test_a_pair_that_serves_two_kinds_of_attention_is_kept_twice(tmp_path: Path) -> None:
    _, tensors = read_hypernetwork(old_file(tmp_path / "old.pt"), ["self_32", "text_32"])
    save_file(tensors, tmp_path / "kept.safetensors")  # refuses tensors that share memory
    kept = load_file(tmp_path / "kept.safetensors")
    pairs = [(name, name.replace("self_32", "text_32")) for name in kept if ".self_32." in name]
    assert len(pairs) * 2 == len(kept)
    assert all(kept[one].equal(other) for one, name in pairs for other in [kept[name]])


def test_nothing_in_a_file_and_another_kind_of_pickle(tmp_path: Path) -> None:
    for content in ({}, [1, 2], torch.ones(1, 4)):
        torch.save(content, tmp_path / "bad.pt")
        with pytest.raises(InputError, match="no nets"):
            read_hypernetwork(tmp_path / "bad.pt", ["self_32"])
