"""Bodies that are too large, too slow, or not what they say."""

import asyncio
import gzip
import io
import json
from typing import Any

import pytest

from tests.server.conftest import TOKEN, Editor
from web.api import route, uploads
from web.api.guard import TOKEN_HEADER

GOOD = {TOKEN_HEADER: TOKEN, "Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"document": NaN}',
        b'{"document": 1, "document": 2}',
        b'{"document": "\\ud800"}',
        b'{"extra": 1, "document": {}}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_message_is_refused_with_reasons(serve: Any, body: bytes) -> None:
    async def check(editor: Editor) -> None:
        answer = await editor.ask("POST", "/api/validate", data=body, headers=GOOD)
        assert answer.status in (400, 422)
        assert answer.problem

    serve(check)


def test_a_body_that_is_not_what_its_encoding_says_is_refused(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def check(editor: Editor) -> None:
        answer = await editor.ask("POST", "/api/validate", data=b'{"document":1}', headers={**GOOD, "Content-Encoding": "gzip"})
        assert (answer.status, answer.problem) == (400, "The request's body is not what its headers say.")
        good = gzip.compress(b'{"document":1}')
        answer = await editor.ask("POST", "/api/validate", data=good, headers={**GOOD, "Content-Encoding": "gzip"})
        assert answer.status == 200

    serve(check)
    assert not caplog.records


def test_a_large_body_is_refused(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        body = json.dumps({"document": "x" * 20_000_001}).encode()
        answer = await editor.ask("POST", "/api/validate", data=io.BytesIO(body), headers=GOOD)
        assert answer.status == 413
        assert answer.problem

    serve(check)


async def _half_a_request(editor: Editor, path: str, kind: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", editor.guard.port)
    head = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{editor.guard.port}", f"{TOKEN_HEADER}: {TOKEN}", f"Content-Type: {kind}"]
    writer.write("\r\n".join([*head, "Content-Length: 1000", "", "{"]).encode())
    await writer.drain()
    status = await reader.readline()
    writer.close()
    return status


def test_a_body_that_stops_coming_is_given_up(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(uploads, "CHUNK_SECONDS", 0.1)

    async def check(editor: Editor) -> None:
        assert b"408" in await _half_a_request(editor, "/api/validate", "application/json")
        assert b"408" in await _half_a_request(editor, "/api/files?name=a.txt", "application/octet-stream")
        assert not list(editor.services.settings.state.glob("upload-*"))

    serve(check)


def test_an_upload_that_is_too_large_is_refused(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)

    async def in_parts() -> Any:
        for _ in range(20):
            yield b"x" * 100

    async def check(editor: Editor) -> None:
        assert (await editor.upload("", "a.txt", b"x" * 1001)).status == 413
        headers = {TOKEN_HEADER: TOKEN, "Content-Type": "application/octet-stream"}
        assert (await editor.ask("POST", "/api/files?name=a.txt", data=in_parts(), headers=headers)).status == 413
        assert not (editor.root / "a.txt").exists()
        assert not list(editor.services.settings.state.glob("upload-*"))

    serve(check)


def test_a_full_disk_is_said_before_anything_is_written(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "RESERVE_BYTES", 2**62)

    async def check(editor: Editor) -> None:
        assert (await editor.upload("", "a.txt", b"x")).status == 507

    serve(check)
