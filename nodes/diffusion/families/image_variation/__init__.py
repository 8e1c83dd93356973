"""Bases conditioned on a CLIP image embedding: image variations and unCLIP."""
