"""Files of models: the header reader, the writer, pickles, model folders and single files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
