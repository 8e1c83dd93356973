"""Denoising tasks, objectives and batches, given to the loop; a file for each special loss."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
