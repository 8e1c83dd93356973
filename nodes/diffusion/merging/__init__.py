"""Merging of checkpoints of any size: recipes are checked by headers and evaluated while the result is written."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
