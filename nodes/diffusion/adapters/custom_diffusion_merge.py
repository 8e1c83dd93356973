"""Concepts of custom diffusion merged in closed form (Kumari et al. 2023, 3.2, eq. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6
"""Ridge, relative to the mean square of the kept features, so that these need not span all directions."""
TOLERANCE = 1e-6
"""Targets with a distance below this share of the largest norm count as one."""


@dataclass(frozen=True)
class Concept:
    """Weights of keys and values by name [out, d], and the text features [n, d] on which their outputs are preserved."""

    weights: Mapping[str, Tensor]
    targets: Tensor


def merge_concepts(base: Mapping[str, Tensor], concepts: Sequence[Concept], kept: Tensor) -> dict[str, Tensor]:
    """Return the weights W nearest to the base on the features `kept` [m, d] that equal each concept's on its targets.

    W = argmin |(W - W0) K^T| with W C^T = V: one projection for all layers, in float64; the result has the base's dtype.
    """
    targets = torch.cat([concept.targets for concept in concepts]).double()
    gram = kept.double().T @ kept.double() / len(kept)
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    directions = torch.linalg.solve(gram, targets.T).T  # C A^-1 [n, d]
    projection = torch.linalg.pinv(directions @ targets.T, rtol=TOLERANCE, hermitian=True) @ directions
    merged: dict[str, Tensor] = {}
    for name, weight in base.items():
        wanted = torch.cat([concept.targets.double() @ concept.weights[name].double().T for concept in concepts])
        missing = wanted - targets @ weight.double().T
        merged[name] = (weight.double() + missing.T @ projection).to(weight.dtype)
    return merged
