"""Drafts: unsaved states of editor tabs, stored by the server so that closing the browser loses nothing."""

import re
from contextlib import suppress

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from graph_runtime.errors import WorkflowError
from graph_runtime.migrate import migrated
from web.api.models import Draft, DraftList, DraftRequest, FileChanged, Saved, SavedDraft
from web.api.refusal import refused
from web.api.services import Services
from web.api.stored import Content

ID = re.compile(r"[a-z0-9-]{1,64}")


async def list_drafts(services: Services, request: web.Request) -> DraftList:
    """Return all readable drafts, oldest first."""
    found = [draft for draft in await services.drafts.read_all(lambda content: _draft(content, services)) if draft]
    return DraftList(drafts=sorted(found, key=lambda draft: draft.modified))


async def save_draft(services: Services, request: web.Request, body: DraftRequest) -> Saved:
    """Write a draft unless another tab has changed it."""
    id = _id(request)
    content = body.draft.model_dump_json(by_alias=True).encode()
    revision = await services.drafts.write(f"{id}.json", content, body.revision)
    services.hub.broadcast(FileChanged(type="draft", path=id, revision=revision))
    return Saved(path=id, revision=revision)


class Seen(BaseModel):
    """The revision that the page has seen; without one, any is removed."""

    model_config = ConfigDict(extra="forbid")
    revision: str = ""


async def remove_draft(services: Services, request: web.Request, query: Seen) -> None:
    """Remove a draft unless another page has changed it."""
    id = _id(request)
    await services.drafts.remove(f"{id}.json", query.revision)
    services.hub.broadcast(FileChanged(type="draft", path=id, revision=""))


def _id(request: web.Request) -> str:
    id = request.match_info["id"]
    if not ID.fullmatch(id):
        raise refused(400, "A draft's id is made of a-z, 0-9 and -.")
    return id


def _draft(content: Content, services: Services) -> SavedDraft | None:
    try:
        draft = Draft.model_validate_json(content.content)
    except ValidationError:
        return None
    with suppress(WorkflowError):  # a newer program's: the tab stays as it is, and validation shows why it cannot run
        draft = draft.model_copy(update={"document": migrated(draft.document, services.palette.types)})
    return SavedDraft(id=content.name.removesuffix(".json"), draft=draft, revision=content.revision, modified=content.modified)
