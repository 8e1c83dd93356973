"""Less memory in training: activations of blocks are computed again on the way back (Chen et al. 2016)."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def checkpointed(transformer: Any, wanted: bool) -> Generator[None]:
    """Checkpoint a transformer's activations, if wanted; undo it afterwards."""
    try:
        if wanted:
            transformer.enable_gradient_checkpointing()
        yield
    finally:
        if wanted:
            transformer.disable_gradient_checkpointing()
