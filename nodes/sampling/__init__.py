"""Sampling: drawing pictures."""
