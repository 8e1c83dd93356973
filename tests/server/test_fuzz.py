"""Requests made at random from the API's own description: whatever is asked, no answer is an error of the server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer, unused_port
from hypothesis import HealthCheck, given, settings, strategies as st
from yarl import URL

from graph_runtime.discovery import TEMPLATES, load_palette
from graph_runtime.workflow import workflow_from_json
from server import make_app, make_services
from tests.server.conftest import TOKEN, Answer
from web.api.guard import TOKEN_HEADER, Guard
from web.api.openapi import openapi
from web.api.services import Settings
from web.api.table import ROUTES

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**400, -(10**4000), 0.5, 1e308, "", "x", "nan", "\0", "é" * 300, "../..", "/etc/passwd",
    "workflows", "con", "a\nb", "9" * 5000, [], [0], {}, {"a": 1}, [[[]]],
)  # fmt: skip
DOCUMENTS = [json.loads(path.read_bytes()) for path in sorted(TEMPLATES.glob("*.json"))]
TYPES = sorted(load_palette().types)
WORDS = st.sampled_from([str(value) for value in ODD if value != ""])
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
RUN = "the-run-that-is-there"
THERE = st.sampled_from((RUN, "kept", "lora"))
"""Stands for the id of a queued run; a workflow, a draft and a folder; a template."""


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A template in which a few things were put where they do not belong."""
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(0, 3))):
        node = document["nodes"][draw(st.sampled_from(sorted(document["nodes"])))]
        change = draw(st.sampled_from(("type", "field", "mode", "key")))
        if change == "type":
            node["type"] = draw(st.sampled_from([*TYPES, "Subgraph", ""]))
        elif change == "field" and node.get("fields"):
            node["fields"][draw(st.sampled_from(sorted(node["fields"])))] = draw(st.sampled_from(ODD))
        elif change == "mode":
            node["mode"] = draw(st.sampled_from(("active", "muted", "bypassed")))
        else:
            part = draw(st.sampled_from((document, node)))
            part[draw(st.sampled_from(sorted(part)))] = draw(st.sampled_from(ODD))
            break
    return document


DESCRIBED = openapi(ROUTES, "1")
OPERATIONS = [
    (method.upper(), path, operation)
    for path, found in DESCRIBED["paths"].items()
    for method, operation in found.items()
    if path != "/api/events"
]


def values(schema: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Return values of a schema, and some that are not."""
    odd = st.sampled_from(ODD)
    if name == "document":
        return documents() | odd
    if "$ref" in schema:
        return values(DESCRIBED["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "properties" in schema:
        parts = {key: values(each, key) for key, each in schema["properties"].items()}
        return st.fixed_dictionaries(parts) | st.fixed_dictionaries({}, optional=parts)
    return st.lists(odd, max_size=2) | odd if schema.get("type") == "array" else odd


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str | None]:
    """Method, address and body of a request to any operation."""
    method, path, operation = draw(st.sampled_from(OPERATIONS))
    query: list[str] = []
    for parameter in operation.get("parameters", ()):
        value = quote(draw(THERE | WORDS if parameter["in"] == "path" else WORDS), safe="")
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", value)
        elif parameter["required"] or draw(st.booleans()):
            query.append(f"{parameter['name']}={value}")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    body = json.dumps(draw(values(content["schema"]))) if content else None
    return method, "?".join(filter(None, (path, "&".join(query)))), body


Ask = Callable[[str, str, Any, dict[str, str]], Answer]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Send requests to one server, which has no device to run anything on."""
    (root := tmp_path_factory.mktemp("fuzz") / "workspace").mkdir()
    for folder in ("workflows", ".latentloom/drafts"):
        (root / folder).mkdir(parents=True)
        (root / folder / "kept.json").write_text(json.dumps(DOCUMENTS[0]))
    port, services = unused_port(), make_services(Settings(root, root / "outputs", root.parent / "cache", (), TOKEN))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> ClientSession:
            await stack.enter_async_context(TestServer(make_app(services, Guard("127.0.0.1", port, TOKEN)), port=port))
            return await stack.enter_async_context(ClientSession())

        async def send(method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
            run = next(iter(supervisor.list()), None) or supervisor.submit(workflow_from_json(DOCUMENTS[0]), [], "auto")
            url = URL(f"http://127.0.0.1:{port}{path.replace(RUN, run.id)}", encoded=True)
            async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
                return Answer(answer.status, answer.headers.copy(), await answer.read())

        session, supervisor = runner.run(start()), services.supervisor
        yield lambda *request: runner.run(send(*request))
        runner.run(stack.aclose())


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(request=requests())
def test_no_request_is_an_error_of_the_server(ask: Ask, request: tuple[str, str, str | None]) -> None:
    method, path, body = request
    kind = "application/octet-stream" if path.startswith("/api/files") else "application/json"
    answer = ask(method, path, body, {TOKEN_HEADER: TOKEN, "Content-Type": kind})
    assert answer.status < 500, answer.content[:300]


HOSTS = st.builds("{}:{}".format, st.sampled_from(("localhost", "127.0.0.1", "[::1]", "::1", "", "x")), WORDS)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(name=st.sampled_from(("Host", "Origin", "Content-Encoding", "Range", "Cookie")), value=HOSTS | WORDS)
def test_no_header_is_an_error_of_the_server(ask: Ask, name: str, value: str) -> None:
    value = "".join(letter for letter in value if letter.isprintable() and letter.isascii())
    for method, path in (("GET", "/api/session"), ("POST", "/api/validate")):
        headers = {TOKEN_HEADER: TOKEN, "Content-Type": "application/json", name: value}
        assert ask(method, path, b"{}" if method == "POST" else None, headers).status < 500
