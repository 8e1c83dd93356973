"""The one loop that minimizes a loss: optimizers, schedules, averages and saved states. Independent of diffusion."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
