"""Refusals of requests: a status, and problems with remedies."""

from collections.abc import Iterable

from aiohttp import web

from graph_runtime.errors import Problem
from web.api.models import Problems


class Refused(Exception):
    """The request is refused with the HTTP status `status`."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(*(str(problem) for problem in problems))
        self.status = status
        self.problems = problems


def refused(status: int, message: str, remedy: str = "") -> Refused:
    """Return a refusal with one problem."""
    return Refused(status, Problem(message, remedy=remedy))


def not_found(what: str) -> Refused:
    """Return the refusal for something that does not exist."""
    return refused(404, f"There is no {what}.")


def problems_response(status: int, problems: Iterable[Problem]) -> web.Response:
    """Return the response of a refusal."""
    body = Problems(problems=list(problems))
    return web.Response(status=status, text=body.model_dump_json(), content_type="application/json")
