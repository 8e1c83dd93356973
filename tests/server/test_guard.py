"""Requests that a hostile page, or a rebound name, can make a browser send."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from tests.server.conftest import TOKEN, Editor, document
from web.api.guard import TOKEN_HEADER, Guard

GOOD = {TOKEN_HEADER: TOKEN, "Content-Type": "application/json"}
LONG = f"localhost:{'1' * 5000}"
BODY = json.dumps({"document": document()})


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost:1", "localhost", "127.0.0.1.evil:{port}", LONG]
)
@pytest.mark.parametrize("path", ["/", "/api/session", "/api/nodes", "/assets/x.js", "/api/files/content?path=x"])
def test_a_rebound_name_gets_nothing(serve: Any, host: str, path: str) -> None:
    async def check(editor: Editor) -> None:
        answer = await editor.get(path, Host=host.format(port=editor.guard.port))
        assert answer.status == 403
        assert TOKEN.encode() not in answer.content

    serve(check)


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST:{port}"])
def test_our_own_names_are_answered(serve: Any, host: str) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.get("/api/session", Host=host.format(port=editor.guard.port))).json["token"] == TOKEN

    serve(check)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"http://{LONG}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/validate"), ("GET", "/api/session"), ("PUT", "/api/workflows/x")])
def test_another_origin_is_refused(serve: Any, headers: dict[str, str], method: str, path: str) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.ask(method, path, data=BODY, headers={**GOOD, **headers})).status == 403

    serve(check)


def test_a_link_elsewhere_may_open_the_page_but_nothing_else(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert (await editor.ask("GET", "/", headers=headers)).status == 200
        assert (await editor.ask("GET", "/api/session", headers=headers)).status == 403

    serve(check)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + " x", "é"])
def test_a_change_needs_the_token(serve: Any, token: str | None) -> None:
    async def check(editor: Editor) -> None:
        headers = {**GOOD, TOKEN_HEADER: token} if token is not None else {"Content-Type": "application/json"}
        changes = (("POST", "/api/validate"), ("PUT", "/api/drafts/a"), ("DELETE", "/api/workflows/x"), ("POST", "/api/runs"))
        for method, path in changes:
            assert (await editor.ask(method, path, data=BODY, headers=headers)).status == 403

    serve(check)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/x", None],
)
def test_what_a_form_can_send_is_refused(serve: Any, kind: str | None) -> None:
    async def check(editor: Editor) -> None:
        headers = {TOKEN_HEADER: TOKEN, **({"Content-Type": kind} if kind else {})}
        assert (await editor.ask("POST", "/api/validate", data=BODY, headers=headers)).status == 415
        assert (await editor.ask("POST", "/api/files?name=a.txt", data=b"a", headers=headers)).status == 415

    serve(check)


def test_a_program_may_send_the_token_as_bearer(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        assert (await editor.ask("POST", "/api/validate", data=BODY, headers=headers)).status == 200

    serve(check)


def test_every_answer_has_the_headers_and_none_allows_other_origins(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for path in ("/", "/api/session", "/api/none", "/api/files/content?path=none", "/api/openapi.json"):
            headers = (await editor.get(path)).headers
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert not [name for name in headers if name.lower().startswith("access-control")]
        assert (await editor.ask("OPTIONS", "/api/validate", headers={"Origin": "http://evil.example"})).status == 403

    serve(check)


async def opens(editor: Editor, path: str = "/api/events", **headers: str) -> bool:
    try:
        async with editor.session.ws_connect(editor.url(path), headers=headers):
            return True
    except WSServerHandshakeError:
        return False


def test_a_socket_needs_our_origin_or_the_token(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        assert await opens(editor, Origin=f"http://localhost:{editor.guard.port}")
        assert await opens(editor, f"/api/events?token={TOKEN}")
        assert await opens(editor, **{TOKEN_HEADER: TOKEN})
        assert not await opens(editor)
        assert not await opens(editor, "/api/events?token=wrong")
        for origin in ("null", "http://evil.example", f"http://evil.example:{editor.guard.port}"):
            assert not await opens(editor, f"/api/events?token={TOKEN}", Origin=origin)

    serve(check)


def test_beyond_loopback_everything_needs_the_token(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for path in ("/", "/api/session", "/api/nodes", "/assets/x.js", "/?token=wrong"):
            assert (await editor.get(path)).status == 401
        assert (await editor.get("/api/session", Authorization=f"Bearer {TOKEN}")).status == 200
        entered = await editor.get(f"/?token={TOKEN}")
        assert (entered.status, entered.headers["Location"]) == (303, "/")
        cookie = entered.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await editor.get("/api/session", Cookie=cookie.split(";")[0])).json["token"] == TOKEN
        assert (await editor.get("/api/session", Cookie=f"{editor.guard.cookie}=wrong")).status == 401

    serve(check, host="0.0.0.0")


def test_loopback_is_known() -> None:
    assert all(Guard(host, 1, "x").is_local for host in ("127.0.0.1", "::1", "localhost"))
    assert not any(Guard(host, 1, "x").is_local for host in ("0.0.0.0", "::", "10.0.0.5", "example.org"))


def test_a_thousand_idle_connections_do_not_stop_it(serve: Any) -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2500:
        pytest.skip("too few open files are allowed here")

    async def check(editor: Editor) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", editor.guard.port) for _ in range(1000)]
        assert (await editor.get("/api/session")).status == 200
        for _, writer in idle:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in idle), return_exceptions=True)

    serve(check)
