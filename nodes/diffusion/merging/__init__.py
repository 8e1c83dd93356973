"""Merging of checkpoints of any size: recipes are compared by their headers and carried out while the result is written."""
