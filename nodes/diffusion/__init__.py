"""Diffusion models, datasets, losses and the training loop in plain torch: no node, no graph, usable from a notebook."""

LIBRARY = True
"""Tells the palette that no nodes lie here."""
