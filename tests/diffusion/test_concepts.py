"""Concepts merged in closed form: exact on their targets, nearest to the base elsewhere."""

import pytest
import torch

from nodes.diffusion.adapters.custom_diffusion_merge import Concept, merge_concepts


def concept(seed: int, base: dict[str, torch.Tensor], width: int) -> Concept:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: weight + torch.randn(weight.shape, generator=generator) for name, weight in base.items()}
    return Concept(weights, torch.randn(3, width, generator=generator))


@pytest.fixture
def base() -> dict[str, torch.Tensor]:
    return {"k": torch.randn(5, 16, generator=torch.Generator().manual_seed(0)), "v": torch.randn(7, 16)}


def test_each_concept_acts_as_it_was_trained_on_its_targets(base: dict[str, torch.Tensor]) -> None:
    concepts = [concept(seed, base, 16) for seed in (1, 2)]
    merged = merge_concepts(base, concepts, torch.randn(40, 16))
    for part in concepts:
        for name, weight in merged.items():
            assert torch.allclose(part.targets @ weight.T, part.targets @ part.weights[name].T, atol=1e-4)


def test_it_is_the_nearest_to_the_base_on_what_is_kept(base: dict[str, torch.Tensor]) -> None:
    """Any other matrix with the same action on the targets lies farther from the base on the kept features."""
    kept = torch.randn(40, 16, generator=torch.Generator().manual_seed(3))
    concepts = [concept(1, base, 16)]
    merged = merge_concepts(base, concepts, kept)

    def distance(weight: torch.Tensor) -> float:
        return float(((weight - base["k"]) @ kept.T).square().sum())

    inside = concepts[0].targets.double()
    free = torch.eye(16, dtype=torch.float64) - torch.linalg.pinv(inside) @ inside  # does nothing on the targets
    for seed in range(20):
        other = torch.randn(5, 16, generator=torch.Generator().manual_seed(seed)).double() @ free
        assert distance(merged["k"] + 0.05 * other.float()) > distance(merged["k"])


def test_targets_that_repeat_count_once(base: dict[str, torch.Tensor]) -> None:
    single = concept(1, base, 16)
    twice = Concept(single.weights, torch.cat([single.targets, single.targets]))
    kept = torch.randn(40, 16)
    one, two = merge_concepts(base, [single], kept), merge_concepts(base, [twice], kept)
    assert torch.allclose(one["k"], two["k"], atol=1e-4)


def test_a_concept_that_changed_nothing_leaves_the_base(base: dict[str, torch.Tensor]) -> None:
    merged = merge_concepts(base, [Concept(base, torch.randn(3, 16))], torch.randn(5, 16))
    assert all(torch.allclose(merged[name], weight, atol=1e-5) for name, weight in base.items())
