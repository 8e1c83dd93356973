"""Factors of low rank against whole singular value decompositions in float64."""

import pytest
import torch
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import product
from nodes.diffusion.adapters.lora.factorization import factored, kept_rank, plain_factors, refactored
from nodes.diffusion.errors import InputError
from tests.diffusion.test_lora_deltas import SHAPES, adapter_of, drawn


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 3, 11, 12, 50])
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (12, 9000)], ids=str)
def test_the_error_is_what_was_dropped_and_no_other_factors_do_better(shape: tuple[int, int], rank: int) -> None:
    change = random(*shape) * 1e-3
    values = torch.linalg.svdvals(change.double())
    found = factored(change, rank, 1.0)
    error = (found.up.double() @ found.down.double() - change.double()).square().sum()
    dropped = values[rank:].square().sum()
    torch.testing.assert_close(error, dropped, rtol=1e-5, atol=float(values.square().sum()) * 1e-12)
    assert found.lost == pytest.approx(float(dropped), rel=1e-6, abs=1e-20)
    assert found.squares == pytest.approx(float(change.double().square().sum()))
    assert found.up.shape[1] == min(rank, 12)
    torch.testing.assert_close(found.up.norm(), found.down.norm(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("energy", [0.1, 0.5, 0.9, 0.999])
def test_energy_keeps_as_few_as_hold_the_share(energy: float) -> None:
    change = random(40, 60) @ torch.diag(torch.logspace(0, -3, 60))
    squares = torch.linalg.svdvals(change.double()).square()
    shares = squares.cumsum(0) / squares.sum()
    expected = next(number for number, share in enumerate(shares, 1) if share >= energy)
    assert factored(change, 100, energy).up.shape[1] == expected
    assert factored(change, 2, energy).up.shape[1] == min(2, expected)
    assert factored(change, 100, energy).lost <= (1 - energy) * squares.sum()


def test_what_has_a_low_rank_is_found_to_have_it() -> None:
    change = random(50, 4) @ random(4, 70, seed=1)
    assert factored(change, 50, 1.0).up.shape[1] == 4
    nothing = factored(torch.zeros(5, 7), 3, 0.5)
    assert not (nothing.up @ nothing.down).any()
    assert nothing.up.shape == (5, 1)
    assert nothing.up.isfinite().all()
    assert kept_rank(torch.tensor([4.0, 1.0, 0.0]), 9, 1.0) == 2


def test_tiny_and_huge_changes_keep_their_precision() -> None:
    for size in (1e-12, 1e12):
        change = random(30, 40) * size
        found = factored(change, 30, 1.0)
        assert float((found.up @ found.down - change).norm() / change.norm()) < 1e-6


@pytest.mark.parametrize("rank", [1, 5, 8])
def test_a_product_is_cut_as_its_whole_matrix_would_be(rank: int) -> None:
    up, down = random(30, 8), random(8, 50, seed=1)
    found, whole = refactored(up, down, rank, 1.0), factored(up @ down, rank, 1.0)
    torch.testing.assert_close(found.up @ found.down, whole.up @ whole.down, rtol=1e-4, atol=1e-4)
    assert found.lost == pytest.approx(whole.lost, rel=1e-4, abs=1e-3)


def test_a_product_may_have_more_ranks_than_the_layer_has_sides() -> None:
    up, down = random(6, 40), random(40, 9, seed=1)
    found = refactored(up, down, 100, 1.0)
    assert found.up.shape == (6, 6)
    torch.testing.assert_close(found.up @ found.down, up @ down, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("algorithm", ["lora", "locon", "rslora", "loha", "lokr"])
def test_every_member_has_plain_factors_but_dora(algorithm: str, shape: tuple[int, ...]) -> None:
    adapter, weight = adapter_of(algorithm), torch.zeros(shape)
    leaves = drawn(adapter, weight)
    up, down = plain_factors(leaves, adapter.scale, shape)
    torch.testing.assert_close((up @ down).reshape(shape), adapter.scale * product(leaves).reshape(shape), rtol=1e-4, atol=1e-4)


def test_a_doras_change_is_no_product() -> None:
    adapter = adapter_of("dora")
    with pytest.raises(InputError, match="depends on the model"):
        plain_factors(drawn(adapter, torch.ones(24, 40)), 1.0, (24, 40))


@pytest.mark.parametrize("shape", [(320, 2880), (640, 640)], ids=str)
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, int]) -> None:
    change, (up, down) = random(*shape), (random(shape[0], 64), random(64, shape[1], seed=1))
    before, found = torch.get_num_threads(), list[tuple[Tensor, ...]]()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        parts = factored(change, 16, 1.0), refactored(up, down, 16, 1.0)
        assert torch.get_num_threads() == threads
        found.append(tuple(tensor for part in parts for tensor in (part.up, part.down)))
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
