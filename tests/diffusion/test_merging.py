"""Every method of merging against its equation in float64; what is copied, and what is refused before it is read."""

import errno
import hashlib
import json
import math
import resource
import shutil
import subprocess
import sys
from io import FileIO
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph_runtime.errors import Interrupted
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.checkpoint_headers import read_header
from nodes.diffusion.handles.recipes import Merged, Permuted, Recipe, Source
from nodes.diffusion.merging import evaluate, merge_method, methods
from nodes.diffusion.merging.blocks import block_finder, preset, ratio_of
from nodes.diffusion.merging.hashing_writer import HashingWriter
from nodes.diffusion.merging.modelspec import recipe_json
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.quantiles import Selection
from nodes.diffusion.merging.source_tensors import is_part
from nodes.diffusion.merging.tensor_statistics import Products, inner_products
from nodes.diffusion.merging.write_checkpoint import write_merged

POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
VAE_BIAS = "first_stage_model.decoder.conv_in.bias"
CONV = "model.diffusion_model.input_blocks.0.0.weight"
several = st.tuples(st.integers(0, 2**31), st.integers(2, 4), st.integers(1, 40))
slicing = st.sampled_from([7, 2**18])
each = settings(max_examples=30, deadline=None)
Drawn = tuple[int, int, int]


def drawn(draw: Drawn, rounded: bool = False) -> list[Tensor]:
    """Random tensors in float64; rounded ones have many entries of the same size."""
    seed, number, size = draw
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(size, 3, generator=generator) for _ in range(number)]
    return [(tensor.round(decimals=0) if rounded else tensor).double() for tensor in tensors]


def merged(method: Any, tensors: list[Tensor], *weights: float, slice: int = 2**18, **settings: Any) -> Tensor:
    """Merge checkpoints of one float32 tensor each."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "SLICE", slice)
        patch.setattr(evaluate, "SAMPLE", 2)
        files = Files(Path(name))
        sources = tuple(files.add(str(n), {"w": tensor.float()}) for n, tensor in enumerate(tensors))
        return files.result(Merged(method=method, inputs=sources, weights=weights, **settings))["w"].double()


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


@given(several, st.lists(st.floats(-2, 2), min_size=4, max_size=4), slicing)
@each
def test_weighted(draw: Drawn, weights: list[float], slice: int) -> None:
    tensors = drawn(draw)
    used = weights[: len(tensors)]
    wanted = sum((w * x for w, x in zip(used, tensors, strict=True)), torch.zeros_like(tensors[0]))
    close(merged("weighted", tensors, *used, slice=slice), wanted)


@given(several, st.floats(0, 1), slicing)
@each
def test_slerp_and_cosine(draw: Drawn, ratio: float, slice: int) -> None:
    x, y, *_ = drawn(draw)
    cos = (x * y).sum() / (x.norm() * y.norm())
    angle = torch.acos(cos)
    wanted = (torch.sin((1 - ratio) * angle) * x + torch.sin(ratio * angle) * y) / torch.sin(angle)
    close(merged("slerp", [x, y], ratio, slice=slice), wanted)
    share = ratio * (1 + cos) / 2
    close(merged("cosine", [x, y], ratio, slice=slice), (1 - share) * x + share * y)


@given(several.filter(lambda draw: draw[1] > 2), st.floats(-2, 2), slicing, st.booleans())
@each
def test_train_difference(draw: Drawn, strength: float, slice: int, rounded: bool) -> None:
    a, b, c, *_ = drawn(draw, rounded)
    wanted = a.clone().flatten()
    for place, (x, y, z) in enumerate(zip(*(t.flatten().tolist() for t in (a, b, c)), strict=True)):
        if y != z:
            wanted[place] += 1.8 * strength * (y - z) * abs(y - x) / (abs(y - z) + abs(y - x))
    close(merged("train difference", [a, b, c], strength, slice=slice), wanted.view_as(a))


def test_slerp_of_what_is_parallel_or_zero_is_straight() -> None:
    a = torch.arange(6.0, dtype=torch.float64)
    close(merged("slerp", [a, 2 * a], 0.5), 1.5 * a)
    close(merged("slerp", [a, 0 * a], 0.5), 0.5 * a)
    close(merged("cosine", [0 * a, a], 0.5), 0.5 * a)


@given(several, st.floats(0, 1), st.floats(-2, 2), slicing, st.booleans())
@each
def test_ties(draw: Drawn, density: float, strength: float, slice: int, rounded: bool) -> None:
    base, *others = tensors = drawn(draw, rounded)
    kept = math.floor(density * base.numel())
    differences = []
    for other in others:
        difference = (other.float() - base.float()).double().flatten()
        largest = sorted(range(len(difference)), key=lambda place: -abs(float(difference[place])))[:kept]
        trimmed = torch.zeros_like(difference)
        trimmed[largest] = difference[largest]
        differences.append(trimmed)
    wanted = base.flatten().clone()
    for place in range(len(wanted)):
        values = [float(difference[place]) for difference in differences]
        agreeing = [value for value in values if value * sum(values) > 0]
        wanted[place] += strength * sum(agreeing) / max(1, len(agreeing))
    close(merged("ties", tensors, strength, density=density, slice=slice), wanted.view_as(base))


def test_ties_that_keep_nothing_return_the_base() -> None:
    base = torch.randn(3).double()
    assert torch.equal(merged("ties", [base, base + 1, base - 2], 1.0, density=0.2), base.float().double())


@given(st.integers(0, 2**31), st.integers(1, 3000), st.floats(0, 1), st.sampled_from(["whole", "part", "none", "wrong"]))
@each
def test_the_kth_largest_is_found_exactly(seed: int, size: int, share: float, known: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(size, generator=generator).abs().mul_(4).round(decimals=seed % 4)
    bits, k = numbers.numpy().view(np.int32), max(1, round(share * size))
    sample = {"whole": bits, "part": bits[::7], "none": bits[:0], "wrong": bits[:1] * 0 + 5}[known]
    selection, passes = Selection(k, size, sample), 0
    while not passes or not selection.narrow():
        for start in range(0, size, 100):
            selection.add(bits[start : start + 100])
        passes += 1
    wanted = numbers.sort(descending=True).values[k - 1]
    assert float(np.int32(selection.value).view(np.float32)) == float(wanted)
    assert selection.equal_kept == k - int((numbers > wanted).sum())
    assert passes <= (1 if known == "whole" else 3)


@given(several, st.floats(0.1, 1), slicing)
@each
def test_dare(draw: Drawn, density: float, slice: int) -> None:
    base, *others = tensors = drawn(draw)
    found = (merged("dare", tensors, 1.0, density=density, slice=slice) - base).flatten()
    changes = [(other - base).flatten() / density / len(others) for other in others]
    for place, value in enumerate(found.tolist()):
        sums = [sum(part) for n in range(len(changes) + 1) for part in combinations([float(c[place]) for c in changes], n)]
        assert min(abs(value - wanted) for wanted in sums) < 2e-3 * (1 + abs(value))


def test_dare_keeps_its_share_and_the_mean_and_draws_apart() -> None:
    zero, one = torch.zeros(10**5).double(), torch.ones(10**5).double()
    found = merged("dare", [zero, one], 1.0, density=0.25, slice=999)
    assert set(found.tolist()) == {0.0, 4.0}
    assert float(found.mean()) == pytest.approx(1, abs=0.03)
    again, other = (merged("dare", [zero, one], 1.0, density=0.25, slice=999, seed=seed) for seed in (0, 1))
    assert torch.equal(found, again)
    assert float((found * other).mean()) == pytest.approx(1, abs=0.1)
    assert float((found[:999] * found[999:1998]).mean()) == pytest.approx(1, abs=0.5)
    both = merged("dare", [zero, one, 4 * one], 1.0, density=0.5)
    assert set(both.tolist()) == {0.0, 1.0, 4.0, 5.0}


def test_a_number_that_is_drawn_does_not_depend_on_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "BLOCK", 64)
    whole = methods.random_numbers(1, "w", 0, 1000)
    assert len(np.unique(whole)) > 900
    for start, count in ((0, 64), (64, 64), (0, 1), (63, 2), (10, 300), (999, 1), (128, 0)):
        assert np.array_equal(methods.random_numbers(1, "w", start, count), whole[start : start + count])


@given(several, slicing)
@each
def test_model_stock(draw: Drawn, slice: int) -> None:
    seed, _, size = draw
    base, *others = tensors = drawn((seed, 4, size))
    differences = [(other - base).flatten() for other in others]
    cosines = [float(a @ b / (a.norm() * b.norm())) for a, b in combinations(differences, 2)]
    cos = max(0, sum(cosines) / len(cosines))
    share = 3 * cos / (1 + 2 * cos)
    close(merged("model stock", tensors, 1.0, slice=slice), share * sum(others) / 3 + (1 - share) * base)
    assert torch.equal(merged("model stock", [base, base, *others], 1.0), base)


@given(several)
@each
def test_adding_a_whole_difference_arrives(draw: Drawn) -> None:
    a, b, *_ = drawn(draw)
    torch.testing.assert_close(merged("add difference", [a, b, a], 1.0), b, rtol=1e-6, atol=1e-6)
    assert torch.equal(merged("add difference", [a, b, a], 0.0), a)


def test_a_new_method_is_one_decorated_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(merge_method.METHODS, "toy", merge_method.METHODS["weighted"])  # taken out again at the end

    @merge_method.merge_method("toy", needs=inner_products)
    def toy(tensors: list[Tensor], density: float, statistics: Products) -> Tensor:
        return tensors[0] * density + statistics[1][0]

    a, b = torch.arange(6.0).double(), torch.ones(6).double()
    recipe = Merged(method="toy", inputs=(), weights=(1.0,), density=0.5)
    close(merged("toy", [a, b], 1.0, density=0.5, slice=4), a * 0.5 + 15)
    assert recipe_json(recipe).get("density") == 0.5
    assert "seed" not in recipe_json(recipe)


def test_a_method_with_one_strength_takes_no_blocks() -> None:
    recipe = Merged(method="slerp", inputs=(), weights=(0.5,), blocks=(("IN00", 0.25),))
    with pytest.raises(InputError, match="takes no ratios of blocks"):
        methods.method_of(recipe)
    assert methods.method_of(Merged(method="weighted", inputs=(), weights=(0.5, 0.5), blocks=recipe.blocks))


def test_a_method_that_asks_for_what_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'wrong' asks for lambda_"):
        merge_method.merge_method("wrong")(lambda tensors, lambda_: tensors[0])
    assert "wrong" not in merge_method.METHODS
    with pytest.raises(InputError, match="no merge method 'unknown'"):
        merged("unknown", [torch.ones(2), torch.ones(2)], 1.0)


class Files:
    """Checkpoints on the disk, and merges of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, tensors: dict[str, Tensor]) -> Source:
        save_file(tensors, self.folder / f"{name}.safetensors")
        return Source(digest=name, name=name)

    def random(self, name: str, dtype: torch.dtype = torch.float16, **more: Tensor) -> Source:
        generator = torch.Generator().manual_seed(len(name) + ord(name[-1]))
        shapes = {"model.diffusion_model.middle_block.0.w": (70, 90), "cond.b": (7,), "model.diffusion_model.out.w": (5, 3)}
        tensors = {key: torch.randn(shape, generator=generator).to(dtype) for key, shape in shapes.items()}
        return self.add(name, {**tensors, POSITIONS: torch.arange(len(name)), **more})

    def locate(self, digest: str) -> Path:
        return self.folder / f"{digest}.safetensors"

    def load(self, source: Source) -> dict[str, Tensor]:
        return load_file(self.locate(source.digest))

    def result(self, recipe: Recipe, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        path = self.folder / "result.safetensors"
        write_merged(planned(recipe, self.locate), dtype, {"title": "é"}, path, lambda *_: None)
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"title": "é"}
        return load_file(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def average(*inputs: Recipe, ratio: float = 0.5) -> Merged:
    return Merged(method="weighted", inputs=inputs, weights=(1 - ratio, ratio))


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    bits = [{name: tensor.view(torch.uint8).tolist() for name, tensor in tensors.items()} for tensors in (found, wanted)]
    return bits[0] == bits[1] and all(found[name].dtype == wanted[name].dtype for name in found)


@pytest.mark.parametrize("method", ["weighted", "slerp", "cosine"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_a_ratio_of_nothing_or_all_returns_the_input_bit_for_bit(files: Files, method: Any, dtype: torch.dtype) -> None:
    zero = torch.tensor([-0.0, 1e-7, -6e4]).to(dtype)
    a, b = files.random("a", dtype, z=zero), files.random("b", dtype, z=zero.flip(0))
    for ratio, wanted in ((0.0, a), (1.0, b)):
        weights = (1 - ratio, ratio) if method == "weighted" else (ratio,)
        if method == "cosine" and ratio == 1:
            continue
        found = files.result(Merged(method=method, inputs=(a, b), weights=weights), dtype)
        assert same(found, files.load(wanted))


def test_slices_do_not_show(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = (files.random(name) for name in "abc")
    recipe = Merged(method="add difference", inputs=(average(a, b), b, average(a, c, ratio=0.2)), weights=(0.7,))
    whole = files.result(recipe)
    monkeypatch.setattr(evaluate, "SLICE", 11)
    assert same(files.result(recipe), whole)
    x, y, z = (files.load(source) for source in (a, b, c))
    for name in x.keys() - {POSITIONS}:
        p, q, r = x[name].double(), y[name].double(), z[name].double()
        close(whole[name], (p + q) / 2 + 0.7 * (q - (0.8 * p + 0.2 * r)))


@pytest.mark.parametrize("inner", ["ties", "dare", "slerp", "model stock"])
def test_nested_methods_equal_merging_one_after_the_other(files: Files, monkeypatch: pytest.MonkeyPatch, inner: Any) -> None:
    monkeypatch.setattr(evaluate, "SLICE", 11)
    monkeypatch.setattr(evaluate, "SAMPLE", 5)
    a, b, c = (files.random(name, torch.float32) for name in "abc")
    first = Merged(method=inner, inputs=(a, b) if inner == "slerp" else (a, b, c), weights=(0.6,), density=0.3)
    middle = files.add("middle", files.result(first))
    for outer in ("weighted", "ties"):
        weights = (0.5, 0.2, 0.3) if outer == "weighted" else (1.0,)
        merges = [Merged(method=outer, inputs=(c, x, b), weights=weights, density=0.4) for x in (first, middle)]
        assert same(*map(files.result, merges))


def test_a_source_used_twice_is_read_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = files.random("a"), files.random("b")
    reads: list[tuple[Path, int]] = []
    raw = evaluate.Reader.raw

    def counted(self: Any, entry: Any, start: int = 0, count: int | None = None) -> Tensor:
        reads.append((entry.file, entry.start + start))
        return raw(self, entry, start, count)

    monkeypatch.setattr(evaluate.Reader, "raw", counted)
    files.result(average(average(a, b), average(b, a, ratio=0.1)))
    assert len(reads) == len(set(reads)) == 7


def test_whole_numbers_are_copied_and_precisions_mix(files: Files) -> None:
    half, brain = files.random("a", torch.float16), files.random("bb", torch.bfloat16)
    eight, full = files.random("c", torch.float8_e4m3fn), files.random("d", torch.float32)
    recipe = Merged(method="weighted", inputs=(half, brain, eight, full), weights=(0.25,) * 4)
    found, loaded = files.result(recipe, torch.bfloat16), [files.load(source) for source in (half, brain, eight, full)]
    assert found[POSITIONS].tolist() == [0]
    assert found["cond.b"].dtype == torch.bfloat16
    wanted = sum(tensors["cond.b"].to(torch.float32) for tensors in loaded) / 4
    torch.testing.assert_close(found["cond.b"].float(), wanted, rtol=0.01, atol=0.01)


def test_what_another_input_lacks_is_the_first_ones(files: Files) -> None:
    a, b = files.random("a", extra=torch.ones(2)), files.random("b", other=torch.ones(2))
    plan = planned(average(a, b), files.locate)
    assert plan.left_alone() == 1
    found = files.result(average(a, b))
    assert found["extra"].tolist() == [1, 1]
    assert "other" not in found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cond_stage_model.transformer.text_model.w", "cond_stage_model.transformer.w"),
        ("cond_stage_model.model.w", "conditioner.embedders.0.model.w"),
        ("text_encoder.text_model.w", "text_encoder.w"),
    ],
)
def test_one_encoder_in_two_spellings_is_one(files: Files, one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        a, b = (
            files.random("a", torch.float32, **{first: torch.zeros(2)}),
            files.random("b", torch.float32, **{second: torch.ones(2)}),
        )
        found = files.result(average(a, average(b, a), ratio=0.5))
        assert found[first].tolist() == [0.25, 0.25]
        assert second not in found


def test_new_orders_follow_the_spelling(files: Files) -> None:
    ours, theirs = "cond_stage_model.transformer.w", "cond_stage_model.transformer.text_model.w"
    a, b = files.add("a", {ours: torch.zeros(2, 1)}), files.add("b", {theirs: torch.tensor([[1.0], [2.0]])})
    orders = files.folder / "orders.safetensors"
    save_file({f"rows.{theirs}": torch.tensor([1, 0], dtype=torch.int32)}, orders)
    found = files.result(average(a, Permuted(input=b, orders=orders, reference="a")))
    assert found[ours].tolist() == [[1.0], [0.5]]


@pytest.mark.parametrize("channels", [8, 9])
def test_further_input_channels_are_kept_and_the_reverse_is_refused(files: Files, channels: int) -> None:
    wide, narrow = torch.randn(6, channels, 3, 3), torch.randn(6, 4, 3, 3)
    a, b = files.add("a", {CONV: wide}), files.add("b", {CONV: narrow})
    found = files.result(average(a, b, ratio=0.25))[CONV]
    close(found[:, :4], 0.75 * wide[:, :4].double() + 0.25 * narrow.double())
    assert torch.equal(found[:, 4:], wide[:, 4:])
    with pytest.raises(InputError, match="is \\[6, 4") as refused:
        planned(average(b, a), files.locate)
    assert "first" in refused.value.remedy


def test_other_shapes_and_families_are_refused_unread(files: Files) -> None:
    key, projection = "x.attn2.to_k.weight", "x.proj_in.weight"
    sd1 = files.add("sd1", {key: torch.zeros(4, 768), projection: torch.zeros(4, 4, 1, 1)})
    sdxl = files.add("sdxl", {key: torch.zeros(4, 2048), projection: torch.zeros(4, 4), "m.label_emb.0": torch.zeros(1)})
    with pytest.raises(InputError, match="family sd1 and sdxl of sdxl"):
        planned(average(sd1, sdxl), files.locate)
    with pytest.raises(InputError, match="cond\\.b is \\[3\\] in p and \\[4\\] in q"):
        planned(average(files.add("p", {"cond.b": torch.ones(3)}), files.add("q", {"cond.b": torch.ones(4)})), files.locate)
    with pytest.raises(InputError, match="no tensor in common"):
        planned(average(files.add("p", {"u": torch.ones(3)}), files.add("q", {"v": torch.ones(3)})), files.locate)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(files: Files, bad: float) -> None:
    a, b = files.random("a"), files.random("b", ok=torch.ones(2))
    damaged = {**files.load(b), "cond.b": torch.full((7,), bad)}
    with pytest.raises(InputError, match=r"cond\.b of worse holds"):
        files.result(average(a, files.add("worse", damaged)))
    large = files.add("large", {"x": torch.full((3,), 6e4)})
    with pytest.raises(InputError, match="does not fit into this precision"):
        files.result(Merged(method="weighted", inputs=(large, large), weights=(1.0, 1.0)), torch.float16)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_ties_of_a_damaged_file_end(files: Files, share: float) -> None:
    numbers = torch.ones(1000)
    numbers[: int(share * 1000)] = torch.tensor([-1], dtype=torch.int32).view(torch.float32)
    base, worse = files.add("base", {"w": torch.zeros(1000)}), files.add("worse", {"w": numbers})
    with pytest.raises(InputError, match="w of worse holds"):
        files.result(Merged(method="ties", inputs=(base, worse), weights=(1.0,), density=0.2))


@pytest.mark.parametrize("method", ["slerp", "cosine", "model stock"])
def test_threads_do_not_show(files: Files, method: Any) -> None:
    sources = [
        files.add(name, {"w": torch.randn(3, 100_001, generator=torch.Generator().manual_seed(n))})
        for n, name in enumerate("abc")
    ]
    inputs, before = tuple(sources if method == "model stock" else sources[:2]), torch.get_num_threads()
    found: list[dict[str, Tensor]] = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(files.result(Merged(method=method, inputs=inputs, weights=(0.3,))))
    torch.set_num_threads(before)
    assert same(*found)


def test_a_model_of_a_pickle_is_told_how_to_become_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"PK")
    with pytest.raises(InputError, match="no safetensors file") as refused:
        read_header(tmp_path / "x.ckpt")
    assert "SaveCheckpoint" in refused.value.remedy


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"\x80\x02}q\x00.", b"\xff" * 40])
def test_no_safetensors_file_is_opened(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"b": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [8, 16]}},
        {"b": {"dtype": "F32", "shape": [3], "data_offsets": [8, 16]}},
        {"b": {"dtype": "C7", "shape": [2], "data_offsets": [8, 16]}},
        {"b": {"dtype": "F32", "shape": "22", "data_offsets": [8, 16]}},
        {"b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 8]}},
        {"b": {"dtype": "F32", "shape": [2]}},
        {"b": 3},
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "c": {"dtype": "I8", "shape": [0], "data_offsets": [8, 8]},
    }
    text = json.dumps({**header, **change}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(InputError, match=r"x\.safetensors"):
        read_header(tmp_path / "x.safetensors")


def test_a_full_disk_is_told_before_anything_is_read_or_while_it_fills(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = average(files.random("a"), files.random("b"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        patch.setattr(evaluate.Reader, "raw", None)
        with pytest.raises(OSError, match="No space left") as refused:
            files.result(merge)
        assert refused.value.errno == errno.ENOSPC
    monkeypatch.setattr(evaluate, "SLICE", 11)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.result(merge)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_written_is_hashed(files: Files) -> None:
    path = files.folder / "r.safetensors"
    plan = planned(average(files.random("a"), files.random("b")), files.locate)
    assert write_merged(plan, torch.float16, {}, path, lambda *_: None) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_disk_that_takes_few_bytes_at_a_time_gets_all(tmp_path: Path) -> None:
    class Slow(FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:100])

    numbers = np.arange(77)
    with Slow(tmp_path / "slow", "w") as file:
        writer = HashingWriter(file)
        writer.write(numbers.view(np.uint8).reshape(77, 8).data)
        writer.close()
    assert (tmp_path / "slow").read_bytes() == numbers.tobytes()


def test_tensors_that_were_tied_are_written_once_each(files: Files) -> None:
    tied = torch.randn(4, 3)
    a, b = (files.add(name, {"x": tied * n, "y": tied.clone() * n}) for n, name in enumerate("ab", 1))
    found = files.result(average(a, b))
    assert torch.equal(found["x"], found["y"])


def test_a_long_row_of_merges_is_planned_in_time_with_its_length(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("nodes.diffusion.merging.plan.is_part", lambda name, parts: asked.append(name) or is_part(name, parts))
    recipe: Any = files.random("a")
    for number in range(40):
        recipe = average(recipe, files.random(f"b{number}", torch.float16, **{VAE_BIAS: torch.ones(2)}))
    found = planned(recipe, files.locate)
    assert found.left_alone() == 1
    assert found.taken_over() == {"vae": 1}
    assert set(asked) == {VAE_BIAS}
    assert len(asked) < 10


def test_a_stop_ends_the_writing(files: Files) -> None:
    def stop(step: int, total: int) -> None:
        raise Interrupted

    plan = planned(average(files.random("a"), files.random("b")), files.locate)
    with pytest.raises(Interrupted):
        write_merged(plan, torch.float16, {}, files.folder / "r.safetensors", stop)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("model.diffusion_model.input_blocks.11.0.in_layers.0.weight", "IN11"),
        ("model.diffusion_model.middle_block.1.norm.weight", "M00"),
        ("model.diffusion_model.output_blocks.3.0.w", "OUT03"),
        ("model.diffusion_model.time_embed.0.weight", "BASE"),
        ("unet.conv_in.weight", "IN00"),
        ("unet.down_blocks.1.attentions.0.norm.weight", "IN04"),
        ("unet.down_blocks.1.downsamplers.0.conv.weight", "IN06"),
        ("unet.mid_block.resnets.0.conv1.weight", "M00"),
        ("unet.up_blocks.1.resnets.2.conv1.weight", "OUT05"),
        ("unet.up_blocks.1.upsamplers.0.conv.weight", "OUT05"),
        ("model.diffusion_model.out.2.weight", "OUT"),
        ("unet.conv_norm_out.bias", "OUT"),
        ("unet.conv_out.weight", "OUT"),
        ("vae.encoder.conv_in.weight", "VAE"),
        ("first_stage_model.encoder.conv_in.weight", "VAE"),
        ("text_encoder.text_model.w", "BASE"),
    ],
)
def test_blocks(name: str, block: str) -> None:
    assert block_finder({})(name) == block


def test_the_vae_belongs_to_base_unless_it_has_a_ratio_of_its_own() -> None:
    assert block_finder({})("vae.decoder.conv_in.weight") == "VAE"
    assert ratio_of("VAE", {"BASE": 0.25}) == 0.25
    assert ratio_of("VAE", {"BASE": 0.25, "VAE": 0.75}) == 0.75
    assert ratio_of("OUT", {"BASE": 0.25}) is None


def test_presets_and_block_ratios(files: Files) -> None:
    assert len(facts("sd1").blocks) == 26
    assert len(facts("sdxl").blocks) == 20
    valley = preset("GRAD_V", facts("sd1").blocks)
    assert (valley["IN00"], valley["M00"], valley["OUT11"]) == (1, 0, 1)
    a, b = files.random("a"), files.random("b")
    recipe = Merged(method="weighted", inputs=(a, b), weights=(1.0, 0.0), blocks=(("BASE", 0.0), ("M00", 1.0)))
    found, key = files.result(recipe, torch.float16), "model.diffusion_model.middle_block.0.w"
    assert same(found, {**files.load(a), key: files.load(b)[key]})


def test_a_package_registers_a_method_without_torch() -> None:
    script = "import sys; from nodes.diffusion.merging.merge_method import merge_method; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_method_without_weights_is_merged() -> None:
    method = merge_method.MergeMethod(lambda tensors, strength: tensors[0] * strength, frozenset({"tensors", "strength"}), None)
    merged = method.merge(Merged(method="toy", inputs=(), weights=()), [torch.ones(2)], (), None, "x", 0)
    assert merged.tolist() == [1, 1]
