"""Saved workflows and templates."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from aiohttp import web

from graph_runtime.discovery import TEMPLATES
from graph_runtime.errors import WorkflowError
from graph_runtime.reading import open_regular
from graph_runtime.workflow import Workflow, parse_workflow, workflow_bytes
from web.api.models import FileChanged, Saved, SavedWorkflow, SaveRequest, WorkflowList, WorkflowSummary
from web.api.places import check_name
from web.api.refusal import not_found
from web.api.sending import Thumbnail, send_file
from web.api.services import Services
from web.api.stored import Content, StoredFolder

PICTURES = (".png", ".webp")


async def list_workflows(services: Services, request: web.Request) -> WorkflowList:
    """Return what is saved; a document that cannot be read says so in its description."""
    found = await services.workflows.read_all()
    return WorkflowList(workflows=[_summary(content, content.name, "") for content in found])


async def read_workflow(services: Services, request: web.Request) -> SavedWorkflow:
    """Return a saved workflow."""
    return _saved(await services.workflows.read(_file_name(request.match_info["path"])))


async def save_workflow(services: Services, request: web.Request, body: SaveRequest) -> Saved:
    """Write a workflow unless somebody else has changed it."""
    name = _file_name(request.match_info["path"])
    services.places.to_write(f"workflows/{name}")
    revision = await services.workflows.write(name, workflow_bytes(body.document), body.revision)
    services.hub.broadcast(FileChanged(type="workflow", path=name, revision=revision))
    return Saved(path=name, revision=revision)


async def remove_workflow(services: Services, request: web.Request) -> None:
    """Remove a saved workflow."""
    name = _file_name(request.match_info["path"])
    services.places.to_write(f"workflows/{name}")
    await services.workflows.remove(name)
    services.hub.broadcast(FileChanged(type="workflow", path=name, revision=""))


async def list_templates(services: Services, request: web.Request) -> WorkflowList:
    """Return the workflows that come with the program."""
    found = await _templates().read_all()
    return WorkflowList(workflows=[_template_summary(content) for content in found])


async def read_template(services: Services, request: web.Request) -> SavedWorkflow:
    """Return a template."""
    return _saved(await _templates().read(_file_name(request.match_info["name"])))


async def template_picture(services: Services, request: web.Request, query: Thumbnail) -> web.StreamResponse:
    """Return a template's picture."""
    picture = _picture(Path(_file_name(request.match_info["name"])).stem)
    if picture is None:
        raise not_found("picture of this template")
    return await send_file(services, open_regular(picture), query.thumbnail)


def _file_name(name: str) -> str:
    check_name(name)
    return name if name.endswith(".json") else f"{name}.json"


def _templates() -> StoredFolder:
    return StoredFolder(TEMPLATES, "template")


def _template_summary(content: Content) -> WorkflowSummary:
    name = Path(content.name).stem
    return _summary(content, name, f"/api/templates/{name}/picture" if _picture(name) else "")


def _picture(stem: str) -> Path | None:
    beside = [TEMPLATES / f"{stem}{suffix}" for suffix in PICTURES]
    others = sorted(path for path in (TEMPLATES / "pictures").glob(f"{stem}*") if path.suffix in PICTURES)
    return next((path for path in (*beside, *others) if path.is_file()), None)


def _summary(content: Content, path: str, picture: str) -> WorkflowSummary:
    name, description, nodes = Path(content.name).stem, "", 0
    try:
        document = _parsed(content.content)
        name, description, nodes = document.name, document.description, len(document.nodes)
    except WorkflowError as error:
        description = str(error)
    return WorkflowSummary(path=path, name=name, description=description, modified=content.modified, nodes=nodes, picture=picture)


def _saved(content: Content) -> SavedWorkflow:
    return SavedWorkflow(document=parse_workflow(content.content, content.name), revision=content.revision)


_parsed: Callable[[bytes], Workflow] = lru_cache(maxsize=256)(parse_workflow)
