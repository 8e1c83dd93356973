"""What holds for the server as a whole: documented, light to start, one command."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Editor
from tests.shell import ROOT
from web.api.models import Problems
from web.api.schema import exchanged_schema, message_models
from web.api.table import ROUTES


def test_the_description_and_the_routes_are_one(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        described = (await editor.get("/api/openapi.json")).json
        served = {(route.method.lower(), re.sub(r":[^}]*}", "}", route.path)) for route in ROUTES}
        assert {(method, path) for path, methods in described["paths"].items() for method in methods} == served
        text = json.dumps(described)
        for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
            assert name in described["components"]["schemas"]
        assert "Problems" in described["components"]["schemas"]

    serve(check)


def test_every_route_answers(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for route in ROUTES:
            path = re.sub(r"{\w+(:[^}]*)?}", "none", route.path)
            answer = await (editor.get(path) if route.method == "GET" else editor.send(route.method, path, {}))
            assert answer.status < 500, path
            if answer.status >= 400:
                assert Problems.model_validate(answer.json).problems

    serve(check)


def test_the_schema_holds_every_message_and_marks_what_is_always_sent() -> None:
    definitions = exchanged_schema()["$defs"]
    names = {cls.__name__ for cls in message_models()} | {"AnyEvent", "ServerMessage", "Workflow", "NodeProgress"}
    assert names <= definitions.keys()
    assert set(definitions["NodeProgress"]["required"]) == definitions["NodeProgress"]["properties"].keys()
    assert definitions["NodeEntry"]["required"] == ["type"]
    assert definitions["Wire"]["required"] == ["from", "to"]


def test_an_unknown_address_is_said_in_the_same_form(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for path in ("/api/none", "/none", "/assets/none.js"):
            answer = await editor.get(path)
            assert answer.status == 404
            assert answer.problem

    serve(check)


def test_an_error_of_ours_shows_nothing_of_itself(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(editor: Editor) -> None:
        monkeypatch.setattr("web.api.stored.StoredFolder._names", lambda self: 1 / 0)
        answer = await editor.get("/api/workflows")
        assert answer.status == 500
        assert "ZeroDivision" not in answer.content.decode()
        assert answer.problem

    serve(check)


def test_the_page_and_its_parts_are_cached_as_they_should(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    monkeypatch.setattr("web.api.page.STATIC", static)

    async def check(editor: Editor) -> None:
        assert b"make page" in (await editor.get("/")).content
        (static / "index.html").write_text("<p>built")
        (static / "assets" / "a-1234.js").write_text("1")
        page, part = await editor.get("/"), await editor.get("/assets/a-1234.js")
        assert (page.content, page.headers["Cache-Control"]) == (b"<p>built", "no-cache")
        assert (part.headers["Content-Type"], part.headers["X-Content-Type-Options"]) == ("text/javascript", "nosniff")
        assert "immutable" in part.headers["Cache-Control"]

    serve(check)


def test_the_server_starts_without_torch() -> None:
    script = (
        "import sys, server\n"
        "from graph_runtime.discovery import load_palette; load_palette()\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'peft', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def test_the_browser_is_sent_to_an_address_that_answers(tmp_path: Path) -> None:
    (browser := tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    started, port = _started(
        tmp_path, "--host", "0.0.0.0", "--open", LATENTLOOM_TOKEN="sixteen letters & more", BROWSER=str(browser)
    )
    assert started.stderr is not None
    assert f"http://{socket.gethostname()}:{port}/?token=sixteen+letters+%26+more (" in started.stderr.readline()
    (opened := tmp_path / "opened").touch()
    deadline = time.monotonic() + 60
    while not opened.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    address = opened.read_text().strip()
    assert address.startswith(f"http://127.0.0.1:{port}/?token=")
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(address) as answer:
        assert answer.status == 200
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=60)


def _started(folder: Path, *options: str, **environment: str) -> tuple[subprocess.Popen[str], int]:
    """Start the command in a folder whose own modules must not be taken for ours; wait until it answers."""
    (folder / "server.py").write_text("raise SystemExit('the wrong server')")
    port = _free_port()
    command = [
        sys.executable,
        "-P",
        "-m",
        "graph_runtime",
        "serve",
        "--port",
        str(port),
        "--cache",
        str(folder / "cache"),
        *options,
    ]
    around = {**os.environ, **environment}
    started = subprocess.Popen([*command, *options], cwd=folder, env=around, stderr=subprocess.PIPE, text=True)
    return started, port


def test_the_command_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    started, port = _started(tmp_path)
    assert started.stderr is not None
    line = started.stderr.readline()
    assert line.strip() == f"Latent Loom serves {tmp_path} at http://127.0.0.1:{port}/"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/session") as answer:
        token = json.load(answer)["token"]
    second, _ = _started(tmp_path)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "Another server runs" in said
    started.send_signal(signal.SIGTERM)
    _, rest = started.communicate(timeout=60)
    assert (started.returncode, rest) == (0, "")
    assert token not in line


def test_beyond_this_machine_it_prints_an_address_with_a_token(tmp_path: Path) -> None:
    started, _ = _started(tmp_path, "--host", "0.0.0.0", "--port", "0", LATENTLOOM_TOKEN="sixteen-letters-at-least")
    assert started.stderr is not None
    line = started.stderr.readline()
    (address,) = re.findall(r":(\d+)/\?token=sixteen-letters-at-least", line)
    with socket.create_connection(("127.0.0.1", int(address)), timeout=60):
        assert address != "0"
    assert "keep the token to yourself" in line
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=60)
    assert started.returncode == 0
    short, _ = _started(tmp_path, "--host", "0.0.0.0", LATENTLOOM_TOKEN="short")
    _, said = short.communicate(timeout=60)
    assert "at least 16 characters" in said
