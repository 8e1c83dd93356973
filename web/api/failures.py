"""Responses to exceptions: expected refusals keep their message, others give no details."""

import logging

from aiohttp import web

from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.workspace import PathRefused
from web.api.guard import Handler
from web.api.refusal import Refused, problems_response

LOG = logging.getLogger("latentloom")


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a response with problems."""
    try:
        return await handler(request)
    except Refused as error:
        return problems_response(error.status, error.problems)
    except WorkflowError as error:
        return problems_response(422, error.problems)
    except PathRefused as error:
        return problems_response(400, [Problem(str(error), remedy=error.remedy)])
    except web.RequestPayloadError:
        request.content.feed_eof()  # or aiohttp would go on reading, and log errors
        answer = problems_response(400, [Problem("The request's body is not what its headers say.")])
        answer.force_close()
        return answer
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problems_response(error.status, [Problem(f"{error.reason}.")])
    except OSError as error:
        LOG.error("%s %s: %s", request.method, request.path, error)
        return problems_response(500, [Problem(f"The disk said: {error.strerror or 'error'}.")])
    except Exception:
        LOG.exception("%s %s failed", request.method, request.path)
        return problems_response(500, [Problem("The server met an error of its own.", remedy="Its window shows the details.")])
