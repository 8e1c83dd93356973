"""Writes our own nodes for the editor's tests: `python -m tests.web.palette`. Git does not keep them."""

import json
from pathlib import Path
from typing import Any

from graph_runtime.discovery import Palette, load_palette
from web.api.palette import palette_reply

PLACE = Path(__file__).parents[2] / "web" / "test" / "palette.json"


def palette_fixture() -> dict[str, Any]:
    """Return what the server says of our own nodes, whatever else is installed."""
    own = {name: node_type for name, node_type in load_palette().types.items() if node_type.package == "latentloom"}
    return palette_reply(Palette(own)).model_dump(mode="json")


if __name__ == "__main__":
    PLACE.write_text(json.dumps(palette_fixture(), indent=1) + "\n", encoding="utf-8")
