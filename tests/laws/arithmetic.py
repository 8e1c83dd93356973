"""The order in which a machine adds up: results on another one differ in their last bits, and trainings enlarge that."""

import hashlib
from functools import cache

import torch
import torch.nn.functional as F


@cache
def arithmetic() -> str:
    """Return a digest of the bits of a few sums, which differ between machines that add up in another order."""
    generator = torch.Generator().manual_seed(0)
    picture, kernel = (torch.randn(*shape, generator=generator) for shape in ((2, 32, 16, 16), (48, 32, 3, 3)))
    kernel.requires_grad_()
    tokens = F.conv2d(picture, kernel, padding=1).flatten(2).transpose(1, 2)
    attended = F.scaled_dot_product_attention(tokens, tokens, tokens)
    F.gelu(F.layer_norm(attended @ kernel.flatten(1), (288,))).square().mean().backward()
    assert kernel.grad is not None
    halved = (tokens.detach().bfloat16() @ kernel.detach().flatten(1).bfloat16()).float()
    found = [tensor.detach().contiguous().numpy().tobytes() for tensor in (attended, kernel.grad, halved)]
    return hashlib.sha256(b"".join(found)).hexdigest()[:16]
