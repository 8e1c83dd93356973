"""Runs through the server: queue, files, artifacts, and the event socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from graph_runtime.discovery import Palette, load_palette, package_types
from graph_runtime.workflow import Workflow
from tests.graph_runtime import sample_package
from tests.graph_runtime.supervised_server import HANGING, install_sample_package, workflow
from tests.server.conftest import TOKEN, Editor, document
from tests.server.test_paths import picture
from web.api import comparing, events, hub

OVER = ("succeeded", "failed", "cancelled")


@pytest.fixture(autouse=True)
def _sample_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load_palette()
    types = {**ours.types, **{found.name: found for found in package_types(sample_package, "sample_package")}}
    monkeypatch.setattr("server.load_palette", lambda: Palette(types, ours.folders))
    install_sample_package(tmp_path, monkeypatch)


def body(made: Workflow, **more: Any) -> dict[str, Any]:
    return {"document": made.model_dump(mode="json", by_alias=True), **more}


@asynccontextmanager
async def socket(editor: Editor) -> AsyncIterator[ClientWebSocketResponse]:
    async with editor.session.ws_connect(editor.url(f"/api/events?token={TOKEN}")) as opened:
        yield opened


async def hear(opened: ClientWebSocketResponse, kind: str, **wanted: Any) -> dict[str, Any]:
    """Return the next message of a kind whose run or event has the wanted values."""
    async with asyncio.timeout(HANGING):
        while True:
            message = await opened.receive_json()
            inside = message.get("event") or message.get("run")
            if message["type"] == kind and all(inside[name] == value for name, value in wanted.items()):
                return message


async def finished(editor: Editor, id: str) -> dict[str, Any]:
    async with asyncio.timeout(HANGING):
        while (run := (await editor.get(f"/api/runs/{id}")).json["run"])["state"] not in OVER:
            await asyncio.sleep(0.02)
    return run


async def start(editor: Editor, made: Workflow, **more: Any) -> str:
    answer = await editor.send("POST", "/api/runs", body(made, **more))
    assert answer.status == 200, answer.content
    return answer.json["id"]


def test_a_run_is_carried_out_and_its_files_are_sent(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        made = workflow("made", say=("Say", {"text": "hello"}), keep=("Keep", {}))
        run = await finished(editor, await start(editor, made))
        assert (run["state"], run["workflow"], run["position"]) == ("succeeded", "made", None)
        address = f"/api/runs/{run['id']}"
        assert (await editor.get(address)).json["document"] == made.model_dump(mode="json", by_alias=True)
        stored = (await editor.get(f"{address}/events")).json["events"]
        assert [event["seq"] for event in stored] == list(range(len(stored)))
        assert (await editor.get(f"{address}/events?after=1")).json["events"] == stored[2:]
        (artifact,) = (await editor.get("/api/artifacts")).json["artifacts"]
        assert (artifact["name"], artifact["node"], artifact["run"]) == ("text.txt", "keep", run["id"])
        sent = await editor.get(artifact["url"])
        assert (sent.content, sent.headers["Content-Type"]) == (b"hello", "application/octet-stream")
        assert (await editor.get(f"{address}/files/loss.csv")).content.startswith(b"node,step")
        folder = editor.services.supervisor.folder(run["id"])
        assert folder is not None
        (folder / "previews" / "a.png").write_bytes(picture(size=(300, 300)))
        small = await editor.get(f"{address}/files/previews/a.png?thumbnail=64")
        assert small.headers["Content-Type"] == "image/webp"
        for path in ("../x", "..%2f..%2f..%2fsecret.txt", "%2fetc%2fpasswd", "previews", "none"):
            assert (await editor.get(f"{address}/files/{path}")).status in (400, 404)
        assert (await editor.get(f"/api/artifacts/{run['id']}/..%2floss.csv")).status == 400

    serve(check)


def test_the_memory_of_workers_is_measured(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.get("/api/device")).json["worker_memory"] == 0
        await finished(editor, await start(editor, workflow(say=("Say", {}))))
        assert (await editor.get("/api/device")).json["worker_memory"] > 0

    serve(check)


def test_what_cannot_run_is_not_queued(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for wrong in ({"document": document(a="None")}, {"document": document(a="Say"), "targets": ["b"]}):
            answer = await editor.send("POST", "/api/runs", wrong)
            assert answer.status == 422
            assert answer.problem
        answer = await editor.send("POST", "/api/runs", {"document": document(a="Say"), "device": "cuda:7"})
        assert answer.status == 409
        assert (await editor.send("POST", "/api/runs", {"document": document(a="Say"), "device": "rm -rf"})).status == 400
        assert (await editor.get("/api/runs")).json == {"runs": []}
        for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
            assert (await editor.send(method, f"/api/runs/none{path}")).status == 404

    serve(check)


def test_nodes_inside_subgraphs_can_be_targets(serve: Any) -> None:
    inner = {"nodes": {"say": {"type": "Say"}, "other": {"type": "Say"}}, "wires": []}
    around = {"nodes": {"deep": {"type": "Subgraph", "fields": {"subgraph": "inner"}}}, "wires": []}
    nodes = {"out": {"type": "Subgraph", "fields": {"subgraph": "around"}}}
    made = {"format": "latentloom/1", "nodes": nodes, "wires": [], "subgraphs": {"inner": inner, "around": around}}

    async def check(editor: Editor) -> None:
        for target, ran in (("out--deep--say", 1), ("out--deep", 2), ("out", 2)):
            answer = await editor.send("POST", "/api/runs", {"document": made, "targets": [target]})
            assert answer.status == 200, answer.content
            assert (await finished(editor, answer.json["id"]))["state"] == "succeeded"
            stored = (await editor.get(f"/api/runs/{answer.json['id']}/events")).json["events"]
            assert len(stored[0]["nodes"]) == ran
        assert (await editor.send("POST", "/api/runs", {"document": made, "targets": ["out--say"]})).status == 422

    serve(check)


def test_the_queue_is_ordered_cancelled_retried_and_cleared(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        gate = editor.root / "open"
        first = await start(editor, workflow(say=("Say", {}), gate=("Gate", {"file": str(gate)})))
        second, third = [await start(editor, workflow(say=("Say", {"text": name}))) for name in ("two", "three")]
        moved = (await editor.send("POST", f"/api/runs/{third}/move", {"position": 0})).json["runs"]
        assert [run["id"] for run in moved] == [first, third, second]
        assert (await editor.send("DELETE", f"/api/runs/{first}")).status == 409
        assert (await editor.send("POST", f"/api/runs/{second}/cancel")).json["state"] == "cancelled"
        gate.touch()
        assert (await finished(editor, first))["state"] == "succeeded"
        assert (await finished(editor, third))["state"] == "succeeded"
        again = (await editor.send("POST", f"/api/runs/{second}/retry")).json["id"]
        assert again != second
        assert (await finished(editor, again))["state"] == "succeeded"
        assert (await editor.send("DELETE", f"/api/runs/{again}")).status == 204
        assert (await editor.get(f"/api/runs/{again}")).status == 404
        assert len((await editor.get("/api/runs?limit=1")).json["runs"]) == 1

    serve(check)


def test_a_page_that_comes_back_hears_each_event_once_and_in_order(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        gate = editor.root / "open"
        nodes = {"say": ("Say", {}), "work": ("Work", {"steps": 30}), "gate": ("Gate", {"file": str(gate)}), "keep": ("Keep", {})}
        async with socket(editor) as first, socket(editor) as other:
            id = await start(editor, workflow(**nodes))
            await first.send_json({"follow": id})
            before = [await hear(first, "event") for _ in range(5)]
            assert (await hear(other, "run", state="running"))["run"]["id"] == id
        last = before[-1]["event"]["seq"]
        async with socket(editor) as again:
            assert (await hear(again, "run"))["run"]["id"] == id
            await again.send_json({"follow": id, "after": last})
            middle = [await hear(again, "event")]
            while middle[-1]["event"]["type"] != "node_message":
                middle.append(await hear(again, "event"))
            gate.touch()
            while middle[-1]["event"]["type"] != "run_finished":
                middle.append(await hear(again, "event"))
            assert (await hear(again, "run", id=id, state="succeeded"))["run"]["artifacts"]
        stored = (await editor.get(f"/api/runs/{id}/events")).json["events"]
        heard = [message["event"] for message in before + middle]
        assert [event for event in heard if event["type"] != "node_progress"] == [
            event for event in stored if event["type"] != "node_progress"
        ]
        assert [event["seq"] for event in heard] == sorted({event["seq"] for event in heard})

    serve(check)


def test_pages_hear_of_documents_devices_and_removed_runs(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "DEVICE_SECONDS", 0.05)

    async def check(editor: Editor) -> None:
        async with socket(editor) as opened:
            assert (await opened.receive_json())["type"] == "device"
            saved = await editor.send("PUT", "/api/workflows/w.json", {"document": document(), "revision": None})
            while (message := await opened.receive_json())["type"] != "workflow":
                pass
            assert message == {"type": "workflow", "path": "w.json", "revision": saved.json["revision"]}
            id = await start(editor, workflow(say=("Say", {})))
            await finished(editor, id)
            await editor.send("DELETE", f"/api/runs/{id}")
            while (message := await opened.receive_json())["type"] != "removed":
                pass
            assert message["run"] == id

    serve(check)


@pytest.mark.parametrize("message", ["", "{", "[]", '{"follow": 1}', '{"follow": "x", "more": 1}', "x" * 10_000])
def test_a_socket_that_talks_nonsense_is_closed(serve: Any, message: str) -> None:
    async def check(editor: Editor) -> None:
        async with socket(editor) as opened, asyncio.timeout(HANGING):
            await opened.send_str(message)
            while (answer := await opened.receive()).type == WSMsgType.TEXT:
                pass
            assert answer.type == WSMsgType.CLOSE
        async with asyncio.timeout(HANGING):
            while editor.services.hub.outboxes:
                await asyncio.sleep(0.01)

    serve(check)


def test_following_a_run_that_is_not_there_is_no_fault_and_leaves_nothing(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        async with socket(editor) as opened:
            await opened.send_json({"follow": "none", "after": -9})
            await editor.send("PUT", "/api/workflows/w.json", {"document": document(), "revision": None})
            assert (await opened.receive_json())["type"] in ("workflow", "device")
            (outbox,) = editor.services.hub.outboxes
            await opened.send_str("and that is all")
            while (await opened.receive()).type != WSMsgType.CLOSE:
                pass
            assert outbox.followed == set()

    serve(check)


def test_sockets_are_counted(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_SOCKETS", 2)

    async def check(editor: Editor) -> None:
        async with socket(editor), socket(editor):
            answer = await editor.get(f"/api/events?token={TOKEN}", Upgrade="websocket", Connection="Upgrade")
            assert answer.status == 503
        async with socket(editor):
            pass

    serve(check)


def test_of_a_page_that_is_far_behind_only_the_newest_progress_waits() -> None:
    async def check() -> None:
        outbox = hub.Outbox()
        outbox.follow("r", -1)
        for seq in range(100):
            outbox.put(_event({"type": "node_progress", "seq": 2 * seq, "node": "a", "step": seq, "total": 100}))
            outbox.put(_event({"type": "node_message", "seq": 2 * seq + 1, "node": "a", "level": "info", "text": ""}))
            outbox.put(_event({"type": "node_message", "seq": seq, "node": "a", "level": "info", "text": ""}, "not followed"))
        items = [await outbox.take() for _ in range(102)]
        assert items[0] == hub.Replay("r", -1)
        seqs = [json.loads(item.model_dump_json())["event"]["seq"] for item in items[1:]]  # type: ignore[union-attr]
        assert seqs == [*range(1, 198, 2), 198, 199]
        assert not outbox.overflowed
        for seq in range(hub.MAX_WAITING + 1):
            outbox.put(_event({"type": "node_message", "seq": seq, "node": "a", "level": "info", "text": ""}))
        assert outbox.overflowed

    asyncio.run(check())


def _event(event: dict[str, Any], run: str = "r") -> Any:
    from graph_runtime.supervisor import RunEvent

    return RunEvent.model_validate({"run": run, "event": event})


def test_runs_with_curves_are_offered_for_comparison_with_what_differs(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(editor: Editor) -> None:
        ids = [await start(editor, workflow(say=("Say", {}), work=("Work", {"steps": steps}))) for steps in (2, 3)]
        ids.append(await start(editor, workflow(say=("Say", {}))))
        for id in ids:
            assert (await finished(editor, id))["state"] == "succeeded"
        found = (await editor.get(f"/api/runs/{ids[0]}/comparable")).json["runs"]
        assert [(run["run"], run["differs"]) for run in found] == [(ids[1], ["steps 3"])]
        silent = (await editor.get(f"/api/runs/{ids[2]}/comparable")).json["runs"]
        assert [(run["run"], run["differs"]) for run in silent] == [(ids[1], []), (ids[0], [])]
        assert (await editor.get("/api/runs/none/comparable")).status == 404
        looked: list[Path] = []
        monkeypatch.setattr(comparing, "AT_MOST", 1)
        monkeypatch.setattr(comparing, "_has_rows", lambda table: not looked.append(table))
        found = (await editor.get(f"/api/runs/{ids[2]}/comparable")).json["runs"]
        assert [run["run"] for run in found] == [ids[1]]
        assert len(looked) == 1, "nothing is read after enough are found"

    serve(scene)
