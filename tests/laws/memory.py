"""What models in memory are made of: the one place where tests of laws know how they are kept."""

import hashlib

import torch

from nodes.diffusion.models.residency import RESIDENT
from tests.models import resident_parts


def forget_models() -> None:
    """Let go of every model in memory."""
    RESIDENT.clear()


def weights() -> dict[str, str]:
    """Return for every tensor of every model in memory its sha256, whether it is trained, and whether its part is in training."""
    found: dict[str, str] = {}
    for key, part in resident_parts().items():
        if isinstance(part, torch.nn.Module):
            for name, tensor in [*part.named_parameters(), *part.named_buffers()]:
                content = tensor.detach().flatten().contiguous().view(torch.uint8).numpy()
                found[f"{key} {name}"] = f"{hashlib.sha256(content).hexdigest()} {tensor.requires_grad} {part.training}"
    return found
