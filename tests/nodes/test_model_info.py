"""What LoadModel reads of a model travels on its handle: later nodes do not read it again, and no key depends on it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.codec import decode, encode
from nodes.diffusion.formats import model_folders
from nodes.diffusion.formats.model_folders import info_of, inspect_folder
from nodes.diffusion.handles.models import DiffusionModel, identifying_fields, inversion_conditions, text_identity
from nodes.models import load_model
from tests.models import handle, make_model_folder
from tests.shell import run_small


def test_no_later_node_of_a_lora_run_reads_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(caller: str) -> Any:
        def inspect(place: Path, **options: Any) -> Any:
            calls.append(caller)
            return inspect_folder(place, **options)

        return inspect

    monkeypatch.setattr(load_model, "inspect_folder", counted("LoadModel"))
    monkeypatch.setattr(model_folders, "inspect_folder", counted("a later node"))
    assert run_small(tmp_path).status == 0
    reasons = "once for what later nodes refuse, once when it is planned, which may be another process, and once when it runs"
    assert calls == ["LoadModel"] * 3, reasons


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model_folder(tmp_path / "m", "sdxl")


def test_a_handle_of_before_is_read_and_its_folder_inspected(folder: Path) -> None:
    now = handle(folder, info=inspect_folder(folder))
    stored = json.loads(encode(now, lambda path: path.name))
    del stored["info"]
    before = decode(json.dumps(stored), DiffusionModel, Path)
    assert before.info is None
    assert before == now
    assert info_of(before, folder) == info_of(now, folder) == inspect_folder(folder)


def test_the_handle_of_today_outlives_the_cache(folder: Path) -> None:
    now = handle(folder, info=inspect_folder(folder))
    again = decode(encode(now, lambda path: path.name), DiffusionModel, Path)
    assert again.info == now.info
    assert info_of(again, Path("nowhere")) == now.info


def test_what_a_person_says_of_the_prediction_counts(folder: Path) -> None:
    model = handle(folder, info=inspect_folder(folder), prediction_type="v_prediction")
    assert info_of(model, folder) == replace(inspect_folder(folder), prediction_type="v_prediction")


def test_no_key_depends_on_it(folder: Path) -> None:
    without, given = handle(folder), handle(folder, info=inspect_folder(folder))
    assert identifying_fields(without) == identifying_fields(given)
    assert "info" not in identifying_fields(given)
    assert (text_identity(without), inversion_conditions(without)) == (text_identity(given), inversion_conditions(given))
