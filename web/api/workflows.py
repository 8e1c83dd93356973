"""Saved workflows and templates."""

from pathlib import Path

from aiohttp import web

from graph_runtime.discovery import TEMPLATES
from graph_runtime.errors import WorkflowError
from graph_runtime.migrate import migrated
from graph_runtime.reading import open_regular
from graph_runtime.workflow import parse_workflow, workflow_bytes
from web.api.models import FileChanged, Saved, SavedWorkflow, SaveRequest, WorkflowList, WorkflowSummary
from web.api.path_access import check_name
from web.api.refusal import not_found
from web.api.sending import Thumbnail, send_file
from web.api.services import Services
from web.api.stored import Content, StoredFolder

PICTURES = (".png", ".webp")
MAX_REMEMBERED, MAX_REMEMBERED_TEXT = 500, 10_000
REMEMBERED: dict[str, tuple[str | None, str, int]] = {}
"""By revision, the summary of a document (name, description, number of nodes), which may itself have many megabytes. The name
of a broken one is None, as its content has none."""


async def list_workflows(services: Services, request: web.Request) -> WorkflowList:
    """Return the saved workflows; an unreadable one has the reason as its description."""
    return WorkflowList(workflows=await services.workflows.read_all(lambda content: _summary(content, content.name, "")))


async def read_workflow(services: Services, request: web.Request) -> SavedWorkflow:
    """Return a saved workflow."""
    return _saved(await services.workflows.read(_file_name(request.match_info["path"])), services)


async def save_workflow(services: Services, request: web.Request, body: SaveRequest) -> Saved:
    """Write a workflow unless another page has changed it."""
    name = _file_name(request.match_info["path"])
    services.paths.to_write(f"workflows/{name}")
    revision = await services.workflows.write(name, workflow_bytes(body.document), body.revision)
    services.hub.broadcast(FileChanged(type="workflow", path=name, revision=revision))
    return Saved(path=name, revision=revision)


async def remove_workflow(services: Services, request: web.Request) -> None:
    """Remove a saved workflow."""
    name = _file_name(request.match_info["path"])
    services.paths.to_write(f"workflows/{name}")
    await services.workflows.remove(name)
    services.hub.broadcast(FileChanged(type="workflow", path=name, revision=""))


async def list_templates(services: Services, request: web.Request) -> WorkflowList:
    """Return the bundled workflows."""
    return WorkflowList(workflows=await _templates().read_all(_template_summary))


async def read_template(services: Services, request: web.Request) -> SavedWorkflow:
    """Return a template."""
    return _saved(await _templates().read(_file_name(request.match_info["name"])), services)


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
    name, description, nodes = _overview(content)
    shown = Path(content.name).stem if name is None else name
    return WorkflowSummary(
        path=path, name=shown, description=description, modified=content.modified, nodes=nodes, picture=picture
    )


def _overview(content: Content) -> tuple[str | None, str, int]:
    """Return a document's name, description and number of nodes; recent results are cached."""
    if found := REMEMBERED.get(content.revision):
        return found
    try:
        document = parse_workflow(content.content)
        found = document.name, document.description, len(document.nodes)
    except WorkflowError as error:
        found = None, str(error)[:MAX_REMEMBERED_TEXT], 0
    if len(found[0] or "") + len(found[1]) <= MAX_REMEMBERED_TEXT:
        if len(REMEMBERED) >= MAX_REMEMBERED:
            REMEMBERED.clear()
        REMEMBERED[content.revision] = found
    return found


def _saved(content: Content, services: Services) -> SavedWorkflow:
    document = migrated(parse_workflow(content.content, content.name), services.palette.types)
    return SavedWorkflow(document=document, revision=content.revision)
