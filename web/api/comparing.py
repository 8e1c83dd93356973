"""Earlier runs whose curves can be compared with those of a run, and the settings in which they differ."""

import asyncio
import contextlib
from itertools import islice
from pathlib import Path
from typing import Any

from aiohttp import web

from graph_runtime.queue import Run, read_document
from web.api.models import ComparableRun, ComparableRuns
from web.api.runs import run_folder
from web.api.services import Services

AT_MOST = 30
LOOKED_AT = 500
LONGEST = 40


async def list_comparable(services: Services, request: web.Request) -> ComparableRuns:
    """Return the newest other runs that have curves, each with the settings in which it differs."""
    id = request.match_info["id"]
    run_folder(services, id)
    runs = services.supervisor
    own = await asyncio.to_thread(_settings, runs.document_text(id))
    others = [run for run in runs.list(None, LOOKED_AT) if run.id != id]
    found: list[ComparableRun] = []
    for run in await asyncio.to_thread(_with_curves, services.settings.output / "runs", others):
        with contextlib.suppress(KeyError):  # the run was removed meanwhile
            differs = _differences(own, await asyncio.to_thread(_settings, runs.document_text(run.id)))
            found.append(ComparableRun(run=run.id, workflow=run.workflow, created=run.created, differs=differs))
    return ComparableRuns(runs=found)


def _with_curves(folder: Path, runs: list[Run]) -> list[Run]:
    """Return the first of the runs that have curves."""
    return list(islice((run for run in runs if run.folder and _has_rows(folder / run.folder / "loss.csv")), AT_MOST))


def _has_rows(table: Path) -> bool:
    """Return whether a table of losses has more than its header."""
    try:
        with table.open("rb") as file:
            return file.read(512).count(b"\n") > 1
    except OSError:
        return False


def _settings(document: str) -> dict[tuple[str, str], Any]:
    nodes = read_document(document).nodes
    return {(id, name): value for id, node in nodes.items() for name, value in [("", node.type), *node.fields.items()]}


def _differences(own: dict[tuple[str, str], Any], other: dict[tuple[str, str], Any]) -> list[str]:
    """Return `field value` for each setting of the other run that differs, in nodes that both have."""
    shared = {id for (id, name), kind in own.items() if not name and other.get((id, "")) == kind}
    names = [key for key in {**own, **other} if key[0] in shared and own.get(key) != other.get(key)]
    return [f"{name} {_short(other.get((id, name)))}" for id, name in names]


def _short(value: object) -> str:
    text = "as it is by default" if value is None else " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
