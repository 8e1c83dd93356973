"""Adapters: what is laid over a frozen model."""
