"""Batch sizes that fit: as many pictures at once as wanted, and on a GPU no more than its free memory holds."""

from torch import nn

from nodes.diffusion.devices import free_memory
from nodes.diffusion.models.latent_space import LatentSpace

USED_SHARE = 0.8
"""Of the free memory; the rest is for the libraries' workspaces and for what fragments."""
LIVE_PLANES = 8
"""Feature maps of its first level that a VAE's encoder holds of one picture at its fullest."""


def denoised_at_once(denoiser: nn.Module, live_numbers: int, wanted: int, *, guided: bool) -> int:
    """Return how many pictures a denoiser denoises at once; guidance computes each twice.

    `live_numbers` is how many numbers it holds at its fullest for one of them.
    """
    return _fitting(denoiser, wanted, live_numbers * (2 if guided else 1))


def encoded_at_once(space: LatentSpace, size: tuple[int, int], wanted: int) -> int:
    """Return how many pictures of `size` (h, w) pixels the VAE encodes at once."""
    return _fitting(space.vae, wanted, LIVE_PLANES * space.feature_maps * size[0] * size[1])


def _fitting(module: nn.Module, wanted: int, numbers: int) -> int:
    """Return how many times that many numbers fit into the memory that is left now; `wanted` where the free memory is unknown."""
    first = next(module.parameters())
    free = free_memory(first.device)
    if free is None:
        return wanted
    return max(1, min(wanted, int(USED_SHARE * free) // (numbers * first.dtype.itemsize)))
