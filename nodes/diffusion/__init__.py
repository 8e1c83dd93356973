"""Diffusion models, datasets, losses and the training loop in plain torch: no node, no graph, usable from a notebook.

Each room's `__init__.pyi` lists its public names. They load on first use, so that importing this costs nothing: torch is
imported by the first name that needs it (SPEC 1 of Scientific Python).
"""

import lazy_loader

LIBRARY = True
"""Tells the palette that no nodes are here."""

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
