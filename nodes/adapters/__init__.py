"""Adapters over a frozen model."""
