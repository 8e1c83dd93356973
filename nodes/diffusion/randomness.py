"""Random draws as a pure function of seed, purpose and step: a resumed training draws what an unbroken one would."""

import hashlib

import torch


def seed_for(seed: int, purpose: str, step: int = 0) -> int:
    """Return a 63-bit seed that belongs to one purpose at one step."""
    digest = hashlib.sha256(f"{seed} {purpose} {step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Return a CPU generator for one purpose at one step; the draws are the same on every device."""
    return torch.Generator().manual_seed(seed_for(seed, purpose, step))
