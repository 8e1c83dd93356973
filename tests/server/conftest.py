"""A server on a workspace of its own, and a client that behaves like the page."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer, unused_port
from yarl import URL

from graph_runtime.workflow import Workflow
from server import make_app, make_services
from web.api.guard import TOKEN_HEADER, Guard
from web.api.services import Services, Settings

TOKEN = "a-token-for-the-tests-alone"


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def problem(self) -> str:
        return self.json["problems"][0]["message"]


@dataclass(frozen=True)
class Editor:
    """A running server, asked over a real connection."""

    root: Path
    services: Services
    session: ClientSession
    guard: Guard

    def url(self, path: str) -> URL:
        """The address of a path, percent signs kept as they are."""
        return URL(f"http://127.0.0.1:{self.guard.port}{path}", encoded=True)

    async def ask(self, method: str, path: str, *, data: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request without adding anything to it."""
        async with self.session.request(
            method, self.url(path), data=data, headers=headers or {}, allow_redirects=False, skip_auto_headers={"Content-Type"}
        ) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.read())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def send(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a change as the page does."""
        headers = {TOKEN_HEADER: TOKEN, "Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.guard.port}"}
        return await self.ask(method, path, data=json.dumps({} if body is None else body), headers=headers)

    async def upload(self, folder: str, name: str, content: bytes) -> Answer:
        headers = {TOKEN_HEADER: TOKEN, "Content-Type": "application/octet-stream"}
        address = URL("/api/files").with_query(folder=folder, name=name)
        return await self.ask("POST", str(address), data=content, headers=headers)


Check = Callable[[Editor], Awaitable[None]]


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., None]:
    """Run a check against a server."""
    (root := tmp_path / "workspace").mkdir()

    def run(check: Check, *, host: str = "127.0.0.1", token: str = TOKEN) -> None:
        asyncio.run(_serve(root, check, host, token))

    return run


async def _serve(root: Path, check: Check, host: str, token: str) -> None:
    port = unused_port()
    settings = Settings(root, root / "outputs", root.parent / "cache", ("cpu",), token)
    services, guard = make_services(settings), Guard(host, port, token)
    async with TestServer(make_app(services, guard), port=port), ClientSession() as session:
        await check(Editor(root, services, session, guard))


def document(name: str = "w", **nodes: str) -> dict[str, Any]:
    """A document of nodes by type."""
    entries = {id: {"type": kind} for id, kind in nodes.items()}
    return json.loads(Workflow.model_validate({"name": name, "nodes": entries}).model_dump_json(by_alias=True))
