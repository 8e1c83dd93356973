"""RebasinWeights: the same model in another order, as near to a reference as orders can bring it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import ResnetBlock2D
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

from graph_runtime.context import RunContext
from graph_runtime.errors import Interrupted
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import moving_average_name
from nodes.diffusion.handles.recipes import Checkpoint, Permuted
from nodes.diffusion.merging import evaluate, git_rebasin
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.encoding import encode_prompts
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.prune_checkpoint import PruneCheckpoint
from nodes.merging.rebasin_weights import RebasinWeights
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward
from tests.models import fresh_model, make_model_folder, random_adapter, shared_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_single_files import saved as save_single_file

CPU = torch.device("cpu")
FAMILIES = ["sd1", "sd2", "sdxl"]
each_family = pytest.mark.parametrize("family", FAMILIES)
each_layout = pytest.mark.parametrize("layout", ["folder", "file"])


def random_order(blocks: int, count: int, generator: torch.Generator, within: int = 1) -> list[Tensor]:
    """Orders of units in which blocks move as wholes, together in all of them, and units inside of their block."""
    whole, size = torch.randperm(blocks, generator=generator), count // blocks
    inside = [[torch.randperm(size, generator=generator) for _ in range(blocks)] for _ in range(within)]
    return [torch.cat([block * size + each[block] for block in whole]) for each in inside]


def put_rows(layer: Any, order: Tensor) -> None:
    layer.weight.data = layer.weight.data[order].clone()
    if layer.bias is not None:
        layer.bias.data = layer.bias.data[order].clone()


def put_columns(layer: Any, order: Tensor) -> None:
    layer.weight.data = layer.weight.data[:, order].clone()


def shuffle(module: Any, generator: torch.Generator) -> bool:
    """Put the hidden units of a module in a random order; False where it has none."""
    if isinstance(module, FeedForward):
        (order,) = random_order(1, module.net[2].in_features, generator)
        put_rows(module.net[0].proj, torch.cat([order, order + len(order)]))
        put_columns(module.net[2], order)
    elif isinstance(module, Attention | CLIPAttention):
        is_clip = isinstance(module, CLIPAttention)
        names = ("q_proj", "k_proj", "v_proj", "out_proj") if is_clip else ("to_q", "to_k", "to_v", "to_out")
        q, k, v, out = (getattr(module, name) for name in names)
        heads = module.num_heads if is_clip else module.heads
        keys, values = random_order(heads, q.out_features, generator, within=2)
        put_rows(q, keys)
        put_rows(k, keys)
        put_rows(v, values)
        put_columns(out if is_clip else out[0], values)
    elif isinstance(module, ResnetBlock2D):
        (order,) = random_order(module.norm2.num_groups, module.conv1.out_channels, generator)
        for layer in (module.conv1, module.norm2, *([module.time_emb_proj] if module.time_emb_proj else [])):
            put_rows(layer, order)
        put_columns(module.conv2, order)
    elif isinstance(module, TimestepEmbedding | CLIPMLP):
        first, second = (module.fc1, module.fc2) if isinstance(module, CLIPMLP) else (module.linear_1, module.linear_2)
        (order,) = random_order(1, second.in_features, generator)
        put_rows(first, order)
        put_columns(second, order)
    else:
        return False
    return True


def shuffled(folder: Path, into: Path) -> int:
    """Write a copy of a model whose hidden units are in a random order; return how many modules have some."""
    shutil.copytree(folder, into)
    model, generator, count = fresh_model(folder), torch.Generator().manual_seed(7), 0
    encoders = zip(("text_encoder", "text_encoder_2"), model.text_encoders, strict=False)
    for part, network in {"unet": model.unet, "vae": model.vae, **dict(encoders)}.items():
        count += sum(shuffle(module, generator) for module in network.modules())
        network.save_pretrained(into / part)
    return count


class Pair:
    """Two small models, as folders or as files: `b` with other weights or, if it is shuffled, `a` in another order."""

    def __init__(self, runner: NodeRunner, family: Any, layout: str = "folder", *, is_shuffled: bool = False) -> None:
        self.runner, folder = runner, make_model_folder(runner.root / "a", family)
        self.count = shuffled(folder, runner.root / "b") if is_shuffled else 0
        if not is_shuffled:
            make_model_folder(runner.root / "b", family, seed=8)
        self.ending = "" if layout == "folder" else ".safetensors"
        if self.ending:
            for name in "ab":
                save_single_file(runner.root / name, runner.root / f"{name}.safetensors")
        self.a, self.b = (runner.run(LoadCheckpoint(path=f"{name}{self.ending}")) for name in "ab")

    def write(self, checkpoint: Checkpoint, name: str = "m") -> dict[str, Tensor]:
        (artifact,) = self.runner.run(SaveSafetensors(precision="fp32", filename=name), model=checkpoint)
        shutil.copyfile(artifact.file, self.runner.root / f"{name}.safetensors")
        return load_file(artifact.file)

    def opened(self, name: str) -> ActiveModel:
        model = self.runner.run(LoadModel(model=name))
        return shared_model(model, self.runner.located[model.digest])


def distance(ones: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    return sum(float((ones[name] - tensor).double().square().sum()) for name, tensor in others.items()) ** 0.5


@pytest.mark.parametrize(("layout", "size"), [("folder", evaluate.SLICE), ("file", 100)], ids=["whole", "in slices"])
@each_family
def test_a_shuffled_model_comes_back_bit_for_bit(
    runner: NodeRunner, family: str, layout: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "SLICE", size)
    pair = Pair(runner, family, layout, is_shuffled=True)
    reference = pair.write(pair.a)
    assert distance(pair.write(pair.b), reference) > 1
    found = runner.run(RebasinWeights(), model=pair.b, reference=pair.a)
    assert f"{pair.count} of {pair.count} hidden layers" in runner.messages.texts[0]
    assert "lie 0 from a" in runner.messages.texts[0]
    written = pair.write(found)
    assert written.keys() == reference.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in reference.items())
    merged = pair.write(runner.run(MergeWeighted(ratio=0.5), models=[pair.a, found]))
    assert all(torch.equal(merged[name], tensor) for name, tensor in reference.items())


@each_family
def test_an_unrelated_model_comes_nearer_and_computes_the_same(runner: NodeRunner, family: str) -> None:
    pair = Pair(runner, family, "file")
    own, reference = pair.write(pair.a), pair.write(pair.b)
    found = runner.run(RebasinWeights(), model=pair.a, reference=pair.b)
    written = pair.write(found, "found")
    assert distance(written, reference) < 0.99 * distance(own, reference)
    assert not all(torch.equal(written[name], tensor) for name, tensor in own.items())
    before, after = (pair.opened(f"{name}.safetensors") for name in ("a", "found"))
    torch.testing.assert_close(forward(after), forward(before), rtol=0, atol=1e-5)
    texts = [encode_prompts(model, ["a cat"]) for model in (before, after)]
    torch.testing.assert_close(texts[1]["hidden"], texts[0]["hidden"], rtol=0, atol=1e-5)
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, two = (model.vae(pixels).sample for model in (before, after))
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)


@each_layout
def test_a_model_lies_nearest_to_itself_as_it_is(runner: NodeRunner, layout: str) -> None:
    pair = Pair(runner, "sdxl", layout)
    assert runner.run(RebasinWeights(), model=pair.a, reference=pair.a) == pair.a
    assert runner.messages.texts == ["No order lies nearer to a than the one that there is."]


def test_equal_units_keep_their_places(runner: NodeRunner) -> None:
    """Where several orders are equally near, as of units that are all zeros, none is taken."""
    make_model_folder(runner.root / "a", "sd1")
    file = runner.root / "a" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    for name in ("conv1", "time_emb_proj"):
        tensors[f"mid_block.resnets.0.{name}.weight"][:] = tensors[f"mid_block.resnets.0.{name}.weight"][:1].clone()
    save_file(tensors, file)
    model = runner.run(LoadModel(model="a"))
    assert runner.run(RebasinWeights(), model=model, reference=model).recipe.digest == model.digest


def test_the_result_of_other_merges_is_put_in_order_too(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its rows are calculated in slices, as the sum that the same numbers give without it."""
    monkeypatch.setattr(evaluate, "SLICE", 500)
    pair = Pair(runner, "sd1", is_shuffled=True)
    make_model_folder(runner.root / "c", "sd1", seed=3)
    c = runner.run(LoadCheckpoint(path="c"))
    ordered = runner.run(RebasinWeights(), model=pair.b, reference=pair.a)
    mixed = runner.run(MergeWeighted(ratio=0.25), models=[pair.a, c])
    back = runner.run(RebasinWeights(), model=runner.run(MergeWeighted(ratio=0.25), models=[ordered, c]), reference=pair.b)
    again = runner.run(RebasinWeights(), model=back, reference=mixed)
    assert isinstance(again.recipe, Permuted)
    expected = pair.write(mixed)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pair.write(again).items())


def test_a_moving_average_takes_the_order_of_its_weights(runner: NodeRunner) -> None:
    pair = Pair(runner, "sd1", "file", is_shuffled=True)
    for name in "ab":
        tensors = load_file(runner.root / f"{name}.safetensors")
        averages = {moving_average_name(own): 0.5 * t for own, t in tensors.items() if own.startswith("model.diffusion_model.")}
        with safe_open(runner.root / f"{name}.safetensors", "pt") as file:
            save_file({**tensors, **averages}, runner.root / f"{name}2.safetensors", file.metadata())
    a, b = (runner.run(LoadCheckpoint(path=f"{name}2.safetensors")) for name in "ab")
    found = runner.run(RebasinWeights(), model=b, reference=a)
    expected = pair.write(a)
    assert any(name.startswith("model_ema.") for name in expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pair.write(found).items())
    pruned = [pair.write(runner.run(PruneCheckpoint(moving_average=True, vae=False), checkpoint=one)) for one in (found, a)]
    assert pruned[0].keys() == pruned[1].keys()
    assert all(torch.equal(tensor, pruned[1][name]) for name, tensor in pruned[0].items())


def test_an_interrupted_search_goes_on_where_it_was(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_rebasin, "SAVED_EVERY", 0.0)
    pair = Pair(runner, "sd1")
    expected = runner.run(RebasinWeights(), model=pair.a, reference=pair.b)
    (runner.root / "progress").mkdir()
    asked: list[int] = []
    searched: list[int] = []
    original = git_rebasin.best_orders

    def best_orders(units: Any, *models: Any) -> Any:
        searched.append(units.count)
        return original(units, *models)

    monkeypatch.setattr(git_rebasin, "best_orders", best_orders)

    def run(stop_after: int) -> Any:
        asked.clear()
        searched.clear()
        context = RunContext(
            store=runner.cache,
            located=runner.located,
            progress_folder=runner.root / "progress",
            stop_requested=lambda: asked.append(1) or len(asked) > stop_after,
        )
        return RebasinWeights().run(pair.a, pair.b, context)

    with pytest.raises(Interrupted):
        run(5)
    assert len(searched) == 5
    assert run(1000) == expected
    assert len(searched) == len(asked) - 5


def test_the_file_tells_of_it(runner: NodeRunner) -> None:
    pair = Pair(runner, "sd1")
    found = runner.run(RebasinWeights(), model=pair.a, reference=pair.b)
    (artifact,) = runner.run(SaveSafetensors(filename="m"), model=found)
    with safe_open(artifact.file, "pt") as file:
        recipe = json.loads(file.metadata()["sd_merge_recipe"])
    assert (recipe["interp_method"], recipe["primary_model_hash"]) == ("Rebasin", pair.a.recipe.digest)
    assert (recipe["reference"], recipe["permutations"]) == ("b", found.recipe.orders.stem)
    assert found == runner.run(RebasinWeights(), model=pair.a, reference=pair.b)


def test_what_does_not_fit_is_refused(runner: NodeRunner) -> None:
    pair = Pair(runner, "sd1")
    run = lambda model, reference: runner.run(RebasinWeights(), model=model, reference=reference)  # noqa: E731
    make_model_folder(runner.root / "xl", "sdxl")
    with pytest.raises(InputError, match="a is of the family sd1 and xl of sdxl"):
        run(pair.a, runner.run(LoadCheckpoint(path="xl")))
    save_file({"model.w": torch.zeros(2, 2)}, runner.root / "other.safetensors")
    other = runner.run(LoadCheckpoint(path="other.safetensors"))
    for one, two, socket in ((other, pair.a, "model"), (pair.a, other, "reference")):
        with pytest.raises(InputError, match=r"other holds no UNet of SD 1\.x, SD 2\.x or SDXL") as refused:
            run(one, two)
        assert refused.value.field == socket
    with pytest.raises(InputError, match=r"hidden units of .* are others in a than in loom-emoji"):
        run(pair.a, runner.run(LoadCheckpoint()))
    model = runner.run(LoadModel(model="a"))
    adapter = random_adapter(runner.root / "a", runner.root / "l.safetensors")
    with pytest.raises(InputError, match="a has adapters besides trained weights") as refused:
        run(pair.b, model.__class__(**{**vars(model), "adapters": (adapter,)}))
    assert refused.value.field == "reference"
    with pytest.raises(InputError, match="a is new"):
        run(model.__class__(**{**vars(model), "initial_seed": 3}), pair.b)
    file = runner.root / "b" / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.mid_block.resnets.0.conv1.weight"][0, 0] = torch.nan
    save_file(tensors, file)
    with pytest.raises(InputError, match=r"vae\.decoder.*conv1\.weight of b holds numbers that are not finite") as refused:
        run(pair.a, runner.run(LoadCheckpoint(path="b")))
    assert refused.value.field == "reference"


def test_modules_with_unknown_parts_are_left_alone(runner: NodeRunner) -> None:
    """Here queries and keys have norms of their own, whose weights know the order."""
    pair = Pair(runner, "sd1", is_shuffled=True)
    module = "mid_block.attentions.0.transformer_blocks.0.attn1"
    for name in "ab":
        file = runner.root / name / "unet" / "diffusion_pytorch_model.safetensors"
        save_file({**load_file(file), f"{module}.norm_q.weight": torch.ones(16)}, file)
    a, b = (runner.run(LoadCheckpoint(path=name)) for name in "ab")
    runner.run(RebasinWeights(), model=b, reference=a)
    assert f"{pair.count - 1} of {pair.count - 1} hidden layers" in runner.messages.texts[0]
