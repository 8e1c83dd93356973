"""Records the results of all nodes anew: `.venv/bin/python -m tests.laws.record [WORKFLOW...]`."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from tests.laws.arithmetic import arithmetic
from tests.laws.runs import ALL, RECORDED, is_elsewhere, recorded, tiny, to_record
from tests.laws.witness import Witness
from tests.shell import run


def main(names: list[str]) -> None:
    """Run the workflows small, all of them without names, and write what their nodes made."""
    known = recorded() if RECORDED.exists() else {}
    if names and is_elsewhere():
        sys.exit("The others were recorded on a machine that adds up in another order: record all of them.")
    for path in ALL:
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            witness = Witness().watch(patch)
            outcome = run(path, Path(folder), **tiny(path))
        if outcome.status != 0:
            sys.exit(f"{path.stem} failed: {outcome.events[-1]}")
        for line in witness.broken:
            sys.stderr.write(f"{path.stem}: {line}\n")
        known[path.stem] = to_record(witness.nodes)
    kept = {"arithmetic": arithmetic(), "workflows": {path.stem: known[path.stem] for path in ALL}}
    RECORDED.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
