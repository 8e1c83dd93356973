"""Reading a safetensors file's header, for all nodes; needs no torch.

`graph_runtime.provenance`, which may import no node, reads for itself the metadata that this program wrote.
"""

import json
from pathlib import Path
from typing import Any

from nodes.diffusion.formats.opening import open_regular

MAX_HEADER = 24 * 2**20
"""JSON takes up to 25 times its length in memory; all names of a model's tensors have one megabyte."""


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Return the header, and where the tensors begin; raise ValueError when the file has none that can be used.

    The library that owns the format imports numpy for this.
    """
    with open_regular(file) as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= MAX_HEADER:
            raise ValueError(f"a header has 2 to {MAX_HEADER} bytes, not {length}")
        try:
            header: Any = json.loads(opened.read(length))
        except RecursionError:
            raise ValueError("the header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header, 8 + length
