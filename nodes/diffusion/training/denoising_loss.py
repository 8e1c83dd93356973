"""The denoising loss: the squared error of what a denoiser predicts of noisy latents."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nodes.diffusion.families.objective import Objective
from nodes.diffusion.handles.datasets import LatentView


def denoising_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    objective: Objective,
    latents: Tensor,
    noise: Tensor,
    levels: Tensor,
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of what `predict(noisy latents, levels)` gives, beside what the objective asks for.

    Latents and noise are [n, c, h, w], levels [n]. `mask` [n, 1, h, w] limits each sample's mean to its own valid area,
    `weights` [n] are those of the samples.
    """
    target = objective.target(latents, noise, levels)
    prediction = predict(objective.noisy(latents, noise, levels), levels)
    error = (prediction.float() - target.float()) ** 2
    if mask is not None:
        error = error * mask * (mask[0].numel() / mask.sum(dim=(1, 2, 3), keepdim=True))
    return error.mean() if weights is None else (error.mean(dim=(1, 2, 3)) * weights).mean()


def valid_mask(views: Sequence[LatentView], latents: Tensor) -> Tensor | None:
    """Return 1 [n, 1, h, w] where a latent pixel is wholly inside its picture, 0 elsewhere; None when all are."""
    if all(view.valid is None for view in views):
        return None
    mask = torch.ones(len(views), 1, *latents.shape[2:], device=latents.device)
    for row, view in zip(mask, views, strict=True):
        if view.valid is not None:
            factor = view.size[0] // latents.shape[3]
            left = min(-(-view.valid[0] // factor), latents.shape[3] - 1)
            top = min(-(-view.valid[1] // factor), latents.shape[2] - 1)
            right, bottom = max(left + 1, view.valid[2] // factor), max(top + 1, view.valid[3] // factor)
            row.zero_()[:, top:bottom, left:right] = 1
    return mask
