"""Is this document right, and what would a run of it do?"""

from aiohttp import web

from web.api.models import PlanReply, PlanRequest, ValidateRequest, ValidationReply
from web.api.services import Services


async def validate_workflow(services: Services, request: web.Request, body: ValidateRequest) -> ValidationReply:
    """Name every problem of a document, of whatever form."""
    return await services.planner.check(body.document)


async def plan_workflow(services: Services, request: web.Request, body: PlanRequest) -> PlanReply:
    """Say what a run would do with each node."""
    return await services.planner.plan(body.document, body.targets)
