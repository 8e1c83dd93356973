"""The OpenAPI document, generated from the table of routes."""

import re
from typing import Any

from pydantic.json_schema import models_json_schema

from web.api.models import Problems
from web.api.route import Route
from web.api.schema import Sent

REFERENCE = "#/components/schemas/{model}"
PART = re.compile(r"\{(\w+)(?::[^}]*)?\}")
FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def openapi(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document of all routes."""
    replies = {route.reply for route in routes if route.reply} | {Problems}
    bodies = {route.body for route in routes if route.body}
    used = [(model, "serialization") for model in replies] + [(model, "validation") for model in bodies]
    used.sort(key=lambda pair: pair[0].__name__)
    references, definitions = models_json_schema(used, by_alias=True, ref_template=REFERENCE, schema_generator=Sent)  # pyright: ignore[reportArgumentType]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, references)
        paths.setdefault(PART.sub(r"{\1}", route.path), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Latent Loom", "version": version},
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {})},
    }


def _operation(route: Route, references: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.handler.__name__, "summary": route.summary}
    if parameters := [*_path_parameters(route), *_query_parameters(route)]:
        operation["parameters"] = parameters
    if route.body or route.takes_file:
        content = _json(references[route.body, "validation"]) if route.body else FILE
        operation["requestBody"] = {"required": True, "content": content}
    done: dict[str, Any] = {"204": {"description": "Done."}}
    if route.reply or route.sends_file:
        found = _json(references[route.reply, "serialization"]) if route.reply else FILE
        done = {"200": {"description": route.summary, "content": found}}
    refusal = {"description": "Refused, with reasons.", "content": _json(references[Problems, "serialization"])}
    operation["responses"] = {**done, "4XX": refusal}
    return operation


def _json(schema: object) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = PART.findall(route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema() if route.query else {}
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": details}
        for name, details in schema.get("properties", {}).items()
    ]
