"""Routes: one declaration of request and reply, for serving and for documentation."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from graph_runtime.errors import Problem
from graph_runtime.wording import readable
from graph_runtime.workflow import parse_json
from web.api.refusal import Refused, refused
from web.api.services import SERVICES

BODY_SECONDS = 30.0
INLINE_BYTES = 64 * 2**10
"""Bytes from which a body is parsed in a thread, so that the event loop is not blocked."""

Handler = Callable[..., Awaitable[BaseModel | web.StreamResponse | None]]


@dataclass(frozen=True)
class Route:
    """A path served by `handler(services, request, query=..., body=...)`; without `reply` the response is empty."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    reply: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    takes_file: bool = False
    """True where the body is a file's raw bytes."""
    sends_file: bool = False


def register(app: web.Application, routes: tuple[Route, ...]) -> None:
    """Serve the routes."""
    for route in routes:
        app.router.add_route(route.method, route.path, _served(route))


def _served(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        parts: dict[str, BaseModel] = {}
        if route.query:
            parts["query"] = _checked(route.query, dict(request.query))
        if route.body:
            parts["body"] = await _read_body(route.body, request)
        reply = await route.handler(request.app[SERVICES], request, **parts)
        if isinstance(reply, BaseModel):
            return json_response(reply)
        return reply or web.Response(status=204)

    return serve


def json_response(reply: BaseModel) -> web.Response:
    """Return a message as a JSON response."""
    return web.Response(text=reply.model_dump_json(by_alias=True), content_type="application/json")


async def _read_body(model: type[BaseModel], request: web.Request) -> BaseModel:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            content = await request.read()
    except TimeoutError:
        raise refused(408, "The request's body took too long to arrive.") from None
    if len(content) > INLINE_BYTES:
        return await asyncio.to_thread(_parsed, model, content)
    return _parsed(model, content)


def _parsed(model: type[BaseModel], content: bytes) -> BaseModel:
    return _checked(model, parse_json(content, "The request"))


def _checked(model: type[BaseModel], value: object) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused(400, *map(_form_problem, error.errors(include_url=False)[:100])) from None
    except RecursionError:
        raise refused(400, "The request is nested too deeply.") from None


def _form_problem(details: ErrorDetails) -> Problem:
    place = [str(part) for part in details["loc"]]
    if "nodes" in place[:3]:
        place = place[place.index("nodes") + 1 :]
        return Problem(readable(details), node=place[0][:64] if place else "", field=".".join(place[1:])[:120])
    return Problem(readable(details), field=".".join(place)[:120])
