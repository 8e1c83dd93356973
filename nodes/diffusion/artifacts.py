"""What a saved file says about itself."""

import json
from collections.abc import Mapping
from typing import Any

METADATA_KEY = "latentloom"


def provenance_text(workflow: Mapping[str, Any], inputs: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Return the JSON that every saved file carries under `latentloom`, the same for the same content."""
    carried = {"workflow": workflow, "inputs": inputs, "versions": versions}
    return json.dumps(carried, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
