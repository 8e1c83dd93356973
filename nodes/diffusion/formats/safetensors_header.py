"""The one reader of safetensors headers for all nodes and the server; needs no torch.

`graph_runtime.provenance` has its own: the runtime may import no node, and `nodes.diffusion`, which notebooks use alone, no
runtime. A test holds both to the same files.
"""

import json
from pathlib import Path
from typing import Any

from nodes.diffusion.formats.opening import open_regular

MAX_HEADER = 24 * 2**20
"""Most bytes of a header: parsed JSON takes up to 25 times its length, and headers of models have about one megabyte."""


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Return the header and the offset of the tensors; raise ValueError when the file has no valid header.

    The format's own library would import numpy for this.
    """
    with open_regular(file) as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= MAX_HEADER:
            raise ValueError(f"a header has 2 to {MAX_HEADER} bytes, not {length}")
        text = opened.read(length)
        if len(text) < length:
            raise ValueError("the file ends inside its header")
        try:
            header: Any = json.loads(text)
        except RecursionError:
            raise ValueError("the header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header, 8 + length
