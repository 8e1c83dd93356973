"""Batches: full, of one size, fair, repeatable, and light."""

import itertools
from collections import Counter
from pathlib import Path

import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from nodes.diffusion.handles.datasets import LatentItem, LatentView
from nodes.diffusion.training.batches import TensorFiles, draw_batches, draw_noise, read_latents


def items(sizes: list[int], repeats: list[int] | None = None, views: int = 1) -> list[LatentItem]:
    def view(n: int, size: int, v: int) -> LatentView:
        return LatentView(Path(f"{n}-{v}"), (size, size), (0, 0), (size, size))

    counts = repeats or [1] * len(sizes)
    return [LatentItem(str(n), tuple(view(n, s, v) for v in range(views)), counts[n]) for n, s in enumerate(sizes)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([64, 128, 192]), min_size=1, max_size=9), st.integers(1, 5), st.integers(0, 9))
def test_every_batch_is_full_and_of_one_size(sizes: list[int], batch_size: int, seed: int) -> None:
    made = items(sizes)
    stream = draw_batches(made, [1] * len(made), batch_size=batch_size, caption_dropout=0, seed=seed)
    drawn = list(itertools.islice(stream, 30))
    assert len(drawn) == 30
    for batch in drawn:
        assert len(batch) == batch_size
        assert len({draw.view.size for draw in batch}) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 20))
def test_pictures_of_one_size_come_equally_often(count: int, batch_size: int, batches: int) -> None:
    made = items([64] * count)
    stream = draw_batches(made, [1] * count, batch_size=batch_size, caption_dropout=0, seed=0)
    seen = Counter(draw.item for batch in itertools.islice(stream, batches) for draw in batch)
    counts = [seen[n] for n in range(count)]
    assert max(counts) - min(counts) <= 1


def test_repeats_count() -> None:
    stream = draw_batches(items([64] * 3, [1, 2, 5]), [1] * 3, batch_size=8, caption_dropout=0, seed=0)
    seen = Counter(draw.item for batch in itertools.islice(stream, 10) for draw in batch)
    assert [seen[n] for n in range(3)] == [10, 20, 50]


def test_sizes_take_turns_in_proportion_to_their_pictures() -> None:
    made = items([64] * 30 + [128] * 10)
    stream = draw_batches(made, [1] * 40, batch_size=2, caption_dropout=0, seed=0)
    seen = Counter(batch[0].view.size[0] for batch in itertools.islice(stream, 1000))
    assert 0.7 < seen[64] / 1000 < 0.8


def test_the_stream_is_the_same_each_time_and_another_for_another_seed() -> None:
    def first(seed: int) -> list[object]:
        stream = draw_batches(items([64] * 5, views=3), [4] * 5, batch_size=3, caption_dropout=0.3, seed=seed)
        return list(itertools.islice(stream, 20))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_views_variants_and_dropout_are_drawn() -> None:
    stream = draw_batches(items([64] * 2, views=2), [3, 3], batch_size=4, caption_dropout=0.25, seed=0)
    draws = [draw for batch in itertools.islice(stream, 500) for draw in batch]
    assert {draw.view.file.name for draw in draws} == {"0-0", "0-1", "1-0", "1-1"}
    dropped = sum(draw.caption is None for draw in draws) / len(draws)
    assert 0.22 < dropped < 0.28
    assert {draw.caption for draw in draws} == {None, 0, 1, 2}


def uniform(count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 1000, (count,), generator=generator)


def test_noise_belongs_to_its_step_and_an_offset_to_the_noise() -> None:
    def noise(step: int, offset: float = 0.0) -> torch.Tensor:
        return draw_noise((4, 4, 8, 8), uniform, noise_offset=offset, seed=1, step=step).noise

    assert torch.equal(noise(3), noise(3))
    assert not torch.equal(noise(3), noise(4))
    added = noise(3, 0.1) - noise(3)
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-6)
    assert 0.05 < float(added[:, :, 0, 0].std()) < 0.15


def test_latents_are_drawn_from_their_distribution(tmp_path: Path) -> None:
    mean, std = torch.full((1, 32, 32), 2.0), torch.full((1, 32, 32), 0.5)
    save_file({"mean": mean, "std": std}, tmp_path / "a")
    view = LatentView(tmp_path / "a", (1, 1), (0, 0), (1, 1))
    files = TensorFiles()
    drawn = read_latents([view] * 4, files, torch.Generator().manual_seed(0))
    assert abs(float(drawn.mean()) - 2) < 0.05
    assert abs(float(drawn.std()) - 0.5) < 0.05
    assert torch.equal(read_latents([view], files, None)[0], mean)


def test_memory_is_bounded_by_a_limit_not_by_the_dataset(tmp_path: Path) -> None:
    files = TensorFiles(limit=10_000)
    for number in range(50):
        save_file({"mean": torch.full((100,), float(number))}, tmp_path / str(number))
    for number in [*range(50), 3, 3, 49]:
        assert float(files.read(tmp_path / str(number))["mean"][0]) == number
        assert files._bytes <= 10_000
    assert len(files._held) == 25
