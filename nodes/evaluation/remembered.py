"""Numbers that were measured before are not measured again, whatever else changed in the workflow."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from graph_runtime.context import RunContext
from nodes.diffusion.handles.results import ScoreRow


def remembered(facts: Sequence[object], label: str, measure: Callable[[], Mapping[str, float]], context: RunContext) -> ScoreRow:
    """Return a row of numbers: those kept under `facts`, which are all that they depend on, or measured now."""
    text = json.dumps(facts, default=lambda path: path.name)
    key = "scores:" + hashlib.sha256(text.encode()).hexdigest()
    values = context.find_item(key)
    if values is None:
        values = measure()
        context.keep_item(key, values)
    return ScoreRow(label, tuple(values.items()))
