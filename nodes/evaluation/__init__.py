"""Evaluation: what was learned, in numbers."""
