"""Samplers, inversions and edits."""
