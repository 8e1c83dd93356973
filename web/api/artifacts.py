"""Finished files of all runs."""

import asyncio
from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from graph_runtime.queue import Run
from web.api.models import ArtifactEntry, ArtifactList
from web.api.path_access import check_name, open_inside
from web.api.runs import run_folder
from web.api.sending import Thumbnail, send_file
from web.api.services import Services

AT_ONCE = 100


class Most(BaseModel):
    """The largest number of files to return."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(default=100, ge=1, le=1000)


async def list_artifacts(services: Services, request: web.Request, query: Most) -> ArtifactList:
    """Return finished files, newest first."""
    entries: list[ArtifactEntry] = []
    for run in _finished(services):
        entries += _entries(run)
        if len(entries) >= query.limit:
            break
    return ArtifactList(artifacts=entries[: query.limit])


async def send_artifact(services: Services, request: web.Request, query: Thumbnail) -> web.StreamResponse:
    """Return a finished file."""
    name = check_name(request.match_info["name"])
    file = await asyncio.to_thread(open_inside, run_folder(services, request.match_info["run"]), f"artifacts/{name}")
    return await send_file(services, file, query.thumbnail)


def _finished(services: Services) -> Iterator[Run]:
    """Yield the runs of the history, newest first, reading a page at a time."""
    before: float | None = None
    while True:
        page = [run for run in services.supervisor.list(before, AT_ONCE) if run.finished is not None]
        yield from page
        if len(page) < AT_ONCE:
            return
        before = page[-1].finished


def _entries(run: Run) -> list[ArtifactEntry]:
    return [
        ArtifactEntry(
            run=run.id,
            workflow=run.workflow,
            node=artifact.node,
            name=(name := PurePath(artifact.path).name),
            url=f"/api/artifacts/{run.id}/{quote(name)}",
            bytes=artifact.bytes,
            sha256=artifact.sha256,
            made=run.finished or run.created,
        )
        for artifact in run.artifacts
    ]
