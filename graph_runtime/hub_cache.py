"""Repositories in a Hugging Face cache: `models--ORGANIZATION--NAME` with `refs`, `snapshots` and `blobs`."""

import re
from pathlib import Path

from graph_runtime.reading import open_regular

REVISION = re.compile(r"[\w.-]{1,100}")


def snapshots_in(folder: Path) -> list[Path]:
    """Return a repository's snapshot folders, only that of its main branch if there is one; none for any other folder."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir() or not ((folder / "blobs").is_dir() or (folder / "refs").is_dir()):
        return []
    main = _main_branch(folder / "refs" / "main")
    kept = sorted(snapshot for snapshot in snapshots.iterdir() if snapshot.is_dir())
    return [snapshot for snapshot in kept if snapshot.name == main] or kept


def _main_branch(reference: Path) -> str:
    if not reference.is_file():
        return ""
    with open_regular(reference) as file:
        revision = file.read(200).decode(errors="replace").strip()
    return revision if REVISION.fullmatch(revision) else ""
