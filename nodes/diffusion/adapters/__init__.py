"""Adapters of every kind: applied to a model, read from files and written to them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
