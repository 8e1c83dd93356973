"""Validating, migrating and planning documents."""

from aiohttp import web

from graph_runtime.errors import WorkflowError
from web.api.models import OpenReply, PlanReply, PlanRequest, ValidateRequest, ValidationReply
from web.api.services import Services


async def validate_workflow(services: Services, request: web.Request, body: ValidateRequest) -> ValidationReply:
    """Return every problem of a document of any form."""
    return await services.planner.check(body.document)


async def open_workflow(services: Services, request: web.Request, body: ValidateRequest) -> OpenReply:
    """Return a document migrated to this release; it may have problems, but not of its form."""
    try:
        return OpenReply(document=await services.planner.open(body.document), problems=[])
    except WorkflowError as error:
        return OpenReply(document=None, problems=list(error.problems))


async def plan_workflow(services: Services, request: web.Request, body: PlanRequest) -> PlanReply:
    """Return for each node whether a run would execute it or use the cache."""
    return await services.planner.plan(body.document, body.targets)
