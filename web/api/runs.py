"""Runs: queueing, reading, cancelling, and the files in their folders."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from graph_runtime.errors import Problem
from graph_runtime.migrate import migrated
from graph_runtime.queue import Run, RunStateError
from graph_runtime.subgraphs import expanded, expanded_ids
from web.api.models import MAX_NUMBER, MoveRequest, RunDetails, RunList, RunRequest
from web.api.path_access import open_inside
from web.api.refusal import Refused, not_found, refused
from web.api.sending import Thumbnail, send_file
from web.api.services import Services


class Page(BaseModel):
    """The wanted part of the history."""

    model_config = ConfigDict(extra="forbid")
    before: float | None = None
    limit: int = Field(default=50, ge=1, le=500)


class After(BaseModel):
    """The last event that the page has."""

    model_config = ConfigDict(extra="forbid")
    after: int = Field(default=-1, ge=-1, le=MAX_NUMBER)


async def start_run(services: Services, request: web.Request, body: RunRequest) -> Run:
    """Check a document and queue it."""
    problems = await services.planner.problems(body.document.to_json())
    problems = problems or await asyncio.to_thread(_unknown_targets, body)
    if problems:
        raise Refused(422, *problems)
    with _expected():
        return services.supervisor.submit(body.document, body.targets, body.device)


def _unknown_targets(wanted: RunRequest) -> list[Problem]:
    """Return a problem for every target that a valid document lacks, also in its subgraphs."""
    known = expanded(wanted.document).nodes.keys()
    meant = expanded_ids(wanted.document, wanted.targets)
    missing = [id for id, inside in meant.items() if not known >= set(inside)]
    return [Problem("this target is not in the workflow.", node=id) for id in missing]


async def list_runs(services: Services, request: web.Request, query: Page) -> RunList:
    """Return running runs, queued runs, and the history."""
    return RunList(runs=services.supervisor.list(query.before, query.limit))


async def read_run(services: Services, request: web.Request) -> RunDetails:
    """Return a run with its document."""
    with _expected():
        id = _id(request)
        document = migrated(services.supervisor.document(id), services.palette.types)
        return RunDetails(run=services.supervisor.get(id), document=document)


async def read_events(services: Services, request: web.Request, query: After) -> web.Response:
    """Return the stored events of a run unchanged."""
    with _expected():
        lines = await services.supervisor.events(_id(request), query.after)
    return web.Response(text=f'{{"events":[{",".join(filter(None, lines))}]}}', content_type="application/json")


async def cancel_run(services: Services, request: web.Request) -> Run:
    """Ask a run to stop, or remove it from the queue."""
    with _expected():
        return services.supervisor.cancel(_id(request))


async def retry_run(services: Services, request: web.Request) -> Run:
    """Queue the same document again."""
    with _expected():
        return services.supervisor.retry(_id(request))


async def move_run(services: Services, request: web.Request, body: MoveRequest) -> RunList:
    """Move a run in the queue."""
    with _expected():
        services.supervisor.move(_id(request), body.position)
    return await list_runs(services, request, Page())


async def remove_run(services: Services, request: web.Request) -> None:
    """Delete a run; its files stay."""
    with _expected():
        services.supervisor.remove(_id(request))


async def send_run_file(services: Services, request: web.Request, query: Thumbnail) -> web.StreamResponse:
    """Return a file of a run's folder."""
    file = await asyncio.to_thread(open_inside, run_folder(services, _id(request)), request.match_info["path"])
    return await send_file(services, file, query.thumbnail)


def run_folder(services: Services, id: str) -> Path:
    """Return the folder of a run; refuse with 404 while there is none."""
    with _expected():
        folder = services.supervisor.folder(id)
    if folder is None or not folder.is_dir():
        raise not_found("folder of this run")
    return folder


def _id(request: web.Request) -> str:
    return request.match_info["id"]


@contextmanager
def _expected() -> Generator[None]:
    """Turn errors of the supervisor into refusals."""
    try:
        yield
    except KeyError:
        raise not_found("such run") from None
    except RunStateError as error:
        raise refused(409, str(error), error.remedy) from None
