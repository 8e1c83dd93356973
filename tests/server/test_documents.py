"""Palette, saved workflows, templates, drafts, checking and planning."""

import json
from typing import Any

import pytest

from graph_runtime.discovery import TEMPLATES, load_palette
from graph_runtime.node import spelled_out
from graph_runtime.validation import NO_WIRE
from tests.server.conftest import TOKEN, Editor, document
from web.api import workflows


def test_the_session_says_what_a_page_needs(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        session = (await editor.get("/api/session")).json
        assert (session["token"], session["workspace"], session["devices"]) == (TOKEN, "workspace", ["auto", "cpu"])
        assert session["workflow_suffixes"] == [".json", ".png", ".safetensors"]
        assert {".png", ".jpg"} <= set(session["picture_suffixes"])

    serve(check)


def test_the_palette_says_which_wires_fit(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        answer = await editor.get("/api/nodes")
        nodes = {node["name"]: node for node in answer.json["nodes"]}
        assert nodes.keys() == load_palette().types.keys()
        assert not answer.json["problems"]
        model = next(socket for socket in nodes["InjectLoRA"]["inputs"] if socket["name"] == "model")
        assert (model["type"], model["accepts"]) == ("DiffusionModel", ["DiffusionModel"])
        assert (model["many"], model["required"]) == (False, True)
        assert nodes["InjectLoRA"]["title"] == "Inject LoRA"
        assert "base model" in nodes["LoadModel"]["synonyms"]
        assert {socket["refuses"] for socket in nodes["LoadImages"]["field_sockets"]} == {NO_WIRE}
        assert {socket["refuses"] for socket in nodes["TrainLoRA"]["field_sockets"]} == {""}
        fields = nodes["TrainLoRA"]["fields"]["properties"]
        assert [socket["name"] for socket in nodes["TrainLoRA"]["field_sockets"]] == list(fields)
        known = await editor.get("/api/nodes", If_None_Match=answer.headers["ETag"])
        assert (known.status, known.content) == (304, b"")

    serve(check)


def test_titles_keep_what_belongs_together() -> None:
    titles = {"InjectLoRA": "Inject LoRA", "TrainTI": "Train TI", "TrainHypernet": "Train Hypernet", "SDXLStart": "SDXL Start"}
    assert {name: spelled_out(name) for name in titles} == titles


def test_a_workflow_is_saved_read_listed_and_removed(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        made = await editor.send("PUT", "/api/workflows/mine", {"document": document("Mine", a="LoadModel"), "revision": None})
        assert (made.status, made.json["path"]) == (200, "mine.json")
        assert json.loads((editor.root / "workflows" / "mine.json").read_text())["nodes"]["a"]["type"] == "LoadModel"
        read = (await editor.get("/api/workflows/mine.json")).json
        assert read["revision"] == made.json["revision"]
        assert read["document"] == document("Mine", a="LoadModel")
        (listed,) = (await editor.get("/api/workflows")).json["workflows"]
        assert (listed["path"], listed["name"], listed["nodes"], listed["picture"]) == ("mine.json", "Mine", 1, "")
        assert (await editor.send("DELETE", "/api/workflows/mine.json")).status == 204
        assert (await editor.get("/api/workflows/mine.json")).status == 404
        assert (await editor.send("DELETE", "/api/workflows/mine.json")).status == 404

    serve(check)


def test_two_tabs_do_not_overwrite_each_other(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for address, wrap in (("/api/workflows/w.json", _saving), ("/api/drafts/d", _drafting)):
            first = (await editor.send("PUT", address, wrap("one", None))).json["revision"]
            again = await editor.send("PUT", address, wrap("two", None))
            assert again.status == 409
            assert again.problem
            second = await editor.send("PUT", address, wrap("two", first))
            assert second.status == 200
            assert (await editor.send("PUT", address, wrap("three", first))).status == 409
            assert (await editor.send("DELETE", address)).status == 204
            assert (await editor.send("PUT", address, wrap("four", second.json["revision"]))).status == 409

    serve(check)


def _saving(name: str, revision: str | None) -> Any:
    return {"document": document(name), "revision": revision}


def _drafting(name: str, revision: str | None) -> Any:
    return {"draft": {"document": document(name), "path": "w.json", "saved_revision": "", "dirty": True}, "revision": revision}


def test_a_damaged_document_is_listed_with_its_problem(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        (editor.root / "workflows").mkdir()
        (editor.root / "workflows" / "broken.json").write_text("{")
        (editor.root / "workflows" / "copy.json").write_text("{")
        listed, copy = (await editor.get("/api/workflows")).json["workflows"]
        assert (copy["name"], listed["name"]) == ("copy", "broken")
        assert "not valid JSON" in listed["description"]
        answer = await editor.get("/api/workflows/broken.json")
        assert answer.status == 422
        assert answer.problem

    serve(check)


def test_lists_remember_little_of_many_documents(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "MAX_REMEMBERED", 3)
    remembered: dict[str, tuple[str, str, int]] = {}
    monkeypatch.setattr(workflows, "REMEMBERED", remembered)

    async def check(editor: Editor) -> None:
        (folder := editor.root / "workflows").mkdir()
        for n in range(5):
            (folder / f"w{n}.json").write_text(json.dumps(document(f"named {n}", a="Text")))
            listed = [found["name"] for found in (await editor.get("/api/workflows")).json["workflows"]]
            assert listed == [f"named {m}" for m in range(n + 1)]
            assert 0 < len(remembered) <= 3
        (folder / "long.json").write_text(json.dumps({**document("long"), "description": "x" * 20_000}))
        await editor.get("/api/workflows")
        assert all(len(said[1]) < 20_000 for said in remembered.values())

    serve(check)


def test_drafts_come_back_oldest_first(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for id in ("b", "a"):
            assert (await editor.send("PUT", f"/api/drafts/{id}", _drafting(id, None))).status == 200
        (editor.services.settings.state / "drafts" / "broken.json").write_text("{")
        drafts = (await editor.get("/api/drafts")).json["drafts"]
        assert {draft["id"] for draft in drafts} == {"a", "b"}
        assert [draft["modified"] for draft in drafts] == sorted(draft["modified"] for draft in drafts)
        assert (await editor.send("DELETE", "/api/drafts/a?revision=another", {})).status == 409, "another page has changed it"
        revision = next(draft["revision"] for draft in drafts if draft["id"] == "a")
        assert (await editor.send("DELETE", f"/api/drafts/a?revision={revision}", {})).status == 204
        assert drafts[0]["draft"]["dirty"] is True
        for id in ("A", "a.b", "x" * 65):
            assert (await editor.send("PUT", f"/api/drafts/{id}", _drafting(id, None))).status == 400

    serve(check)


NOTHING = {"problems": [], "warnings": []}


def test_every_template_opens_without_a_problem_anywhere(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        listed = (await editor.get("/api/templates")).json["workflows"]
        assert {template["path"] for template in listed} == {path.stem for path in TEMPLATES.glob("*.json")}
        for template in listed:
            saved = (await editor.get(f"/api/templates/{template['path']}")).json
            assert (await editor.send("POST", "/api/validate", {"document": saved["document"]})).json == NOTHING
            plan = (await editor.send("POST", "/api/plan", {"document": saved["document"]})).json
            assert plan["problems"] == []
            assert plan["nodes"].keys() == saved["document"]["nodes"].keys()
            if template["picture"]:
                assert (await editor.get(template["picture"])).headers["Content-Type"] in ("image/png", "image/webp")

    serve(check)


def test_a_template_is_not_changed_by_saving(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        assert (await editor.send("PUT", "/api/templates/lora", {"document": document(), "revision": None})).status == 405

    serve(check)


def test_problems_are_named_whatever_the_document_is(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        for wrong in (None, 1, [], {}, {"format": "other/1"}, {"format": "latentloom/1", "nodes": {"a": {"type": 1}}}):
            answer = await editor.send("POST", "/api/validate", {"document": wrong})
            assert answer.status == 200
            assert answer.json["problems"]
        (problem,) = (await editor.send("POST", "/api/validate", {"document": document(a="Lodmodel")})).json["problems"]
        assert (problem["node"], problem["remedy"]) == ("a", "Did you mean LoadModel?")

    serve(check)


def test_a_plan_names_what_would_run(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        wanted = {"document": document(a="LoadModel", b="LoadModel"), "targets": ["a"]}
        plan = (await editor.send("POST", "/api/plan", wanted)).json
        assert plan == {"targets": ["a"], "nodes": {"a": "run", "b": "skipped"}, "problems": [], "warnings": []}
        wrong = (await editor.send("POST", "/api/plan", {"document": document(), "targets": ["x"]})).json
        assert (wrong["nodes"], wrong["problems"][0]["node"]) == ({}, "x")

    serve(check)


def test_what_a_muted_node_stops_is_told_before_the_run(serve: Any) -> None:
    async def check(editor: Editor) -> None:
        content = document(model="LoadModel", drawn="SampleImages")
        content["nodes"]["model"]["mode"] = "muted"
        content["wires"] = [{"from": "model.output", "to": "drawn.models"}]
        wanted = [{"node": "drawn", "field": "", "message": "does not run: model is muted.", "remedy": ""}]
        assert (await editor.send("POST", "/api/validate", {"document": content})).json == {"problems": [], "warnings": wanted}
        plan = (await editor.send("POST", "/api/plan", {"document": content})).json
        assert (plan["nodes"], plan["warnings"]) == ({"model": "skipped", "drawn": "skipped"}, wanted)

    serve(check)


def test_documents_of_earlier_releases_are_shown_with_the_names_of_today(serve: Any) -> None:
    old = document("Old", a="TrainTI")
    old["nodes"]["a"]["fields"] = {"placeholder": "<owl>"}
    today = {"placeholder_token": "<owl>"}

    async def check(editor: Editor) -> None:
        (editor.root / "workflows").mkdir()
        (editor.root / "workflows" / "old.json").write_text(json.dumps(old))
        assert (await editor.get("/api/workflows/old.json")).json["document"]["nodes"]["a"]["fields"] == today
        draft = {"document": old, "path": "", "saved_revision": "", "dirty": True}
        await editor.send("PUT", "/api/drafts/d", {"draft": draft, "revision": None})
        (kept,) = (await editor.get("/api/drafts")).json["drafts"]
        assert kept["draft"]["document"]["nodes"]["a"]["fields"] == today
        opened = (await editor.send("POST", "/api/open", {"document": old})).json
        assert (opened["document"]["nodes"]["a"]["fields"], opened["problems"]) == (today, [])

    serve(check)


def test_a_document_of_a_newer_program_says_so_and_a_draft_of_it_stays(serve: Any) -> None:
    new = document("New", a="TrainTI")
    new["nodes"]["a"]["schema_version"] = 99

    async def check(editor: Editor) -> None:
        opened = (await editor.send("POST", "/api/open", {"document": new})).json
        assert opened["document"] is None
        assert "saved with schema version 99" in opened["problems"][0]["message"]
        assert "Update the program" in opened["problems"][0]["remedy"]
        (editor.root / "workflows").mkdir()
        (editor.root / "workflows" / "new.json").write_text(json.dumps(new))
        assert "saved with schema version 99" in (await editor.get("/api/workflows/new.json")).problem
        draft = {"document": new, "path": "", "saved_revision": "", "dirty": True}
        await editor.send("PUT", "/api/drafts/d", {"draft": draft, "revision": None})
        (kept,) = (await editor.get("/api/drafts")).json["drafts"]
        assert kept["draft"]["document"]["nodes"]["a"]["schema_version"] == 99
        problems = (await editor.send("POST", "/api/validate", {"document": new})).json["problems"]
        assert problems[0]["node"] == "a"

    serve(check)
