"""XYGrid: every combination drawn by a real, small model, and named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graph_runtime.cache import Cache
from graph_runtime.context import RunContext
from graph_runtime.discovery import load_palette
from graph_runtime.events import RunFinished
from graph_runtime.session import Prepared, prepare, run
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.results import GeneratedImage, ImageSet
from nodes.diffusion.pictures.grids import Row
from nodes.sampling.xy_grid import XYGrid
from tests.models import make_model_folder

SAMPLE = {"prompts": "red apple", "num_inference_steps": 2, "guidance_scale": 4}
FIELDS = {"x": "sample.guidance_scale", "x_values": "2\n5", "y": "sample.seed", "y_values": "1\n2\n3"}


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    opened = Cache(tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[list[Row]]:
    """The rows of every grid that is drawn."""
    from nodes.diffusion.pictures import grids

    seen: list[list[Row]] = []
    original = grids.draw_grid
    monkeypatch.setattr(diffusion.pictures, "draw_grid", lambda rows, cell: (seen.append(list(rows)), original(rows, cell))[1])
    return seen


def prepared(root: Path, cache: Cache, targets: list[str], **sample: Any) -> Prepared:
    nodes = {
        "load": {"type": "LoadModel", "fields": {"model": "tiny"}},
        "sample": {"type": "SampleImages", "fields": {**SAMPLE, **sample}},
        "grid": {"type": "XYGrid", "fields": {**FIELDS, "cell_size": 32}},
        "by_hand": {"type": "SampleImages", "fields": {**SAMPLE, **sample, "guidance_scale": 5, "seed": 2}},
    }
    ends = [("load.output", "sample.models"), ("sample.output", "grid.images"), ("load.output", "by_hand.models")]
    wires = [{"from": a, "to": b} for a, b in ends]
    document = workflow_from_json({"format": "latentloom/1", "nodes": nodes, "wires": wires})
    return prepare(document, load_palette(), Workspace(root), cache, targets)


def ran(made: Prepared, cache: Cache, output: Path) -> RunFinished:
    finished = run(made, cache, output, device="cpu", listener=lambda _: None, stop_requested=lambda: False)
    assert finished.status == "succeeded"
    return finished


def value(made: Prepared, cache: Cache, id: str) -> ImageSet:
    step = made.graph.steps[id]
    return cache.get(step.key, step.type.result)


def test_every_combination_is_drawn_by_its_own_settings(tmp_path: Path, cache: Cache, shown: list[list[Row]]) -> None:
    make_model_folder(tmp_path / "tiny", "sd1")
    made = prepared(tmp_path, cache, ["grid", "by_hand"])
    copies = {f"sample--x{x}y{y}" for x in (1, 2) for y in (1, 2, 3)}
    assert ran(made, cache, tmp_path / "out").nodes.keys() == {"load", "grid", "by_hand", *copies}
    (rows,) = shown
    assert [row.label for row in rows] == ["seed = 1", "seed = 2", "seed = 3"]
    assert all(list(row.captions) == ["guidance_scale = 2", "guidance_scale = 5"] for row in rows)
    pictures = [picture.tobytes() for row in rows for picture in row.pictures]
    assert len(set(pictures)) == 6
    with Image.open(value(made, cache, "by_hand").images[0].file) as opened:
        assert opened.convert("RGB").tobytes() == pictures[3]
    (grid,) = value(made, cache, "grid").images
    assert grid.prompt == "red apple"
    with Image.open(grid.file) as opened:
        assert opened.height > 3 * 32


def test_several_pictures_make_a_grid_each(tmp_path: Path, cache: Cache, shown: list[list[Row]]) -> None:
    make_model_folder(tmp_path / "tiny", "sd1")
    made = prepared(tmp_path, cache, ["grid"], prompts="red apple\na house")
    ran(made, cache, tmp_path / "out")
    grids = value(made, cache, "grid")
    assert [grid.prompt for grid in grids.images] == ["red apple", "a house"]
    assert grids.columns == len(shown) == 2


def image_set(folder: Path, count: int = 1) -> ImageSet:
    file = folder / "p.png"
    Image.new("RGB", (8, 8), "#ff0000").save(file)
    return ImageSet((GeneratedImage(file, "base", "an apple", 3),) * count, count)


def test_one_field_makes_one_row(tmp_path: Path, shown: list[list[Row]]) -> None:
    XYGrid(x="a.rank", x_values="1\n2").run([image_set(tmp_path)] * 2, RunContext())
    assert [(row.label, list(row.captions)) for row in shown[0]] == [("", ["rank = 1", "rank = 2"])]


def test_fields_of_one_name_are_told_apart_by_their_nodes(tmp_path: Path, shown: list[list[Row]]) -> None:
    fields = {"x": "one.seed", "x_values": "1", "y": "two.seed", "y_values": "2\n3"}
    XYGrid.model_validate(fields).run([image_set(tmp_path)] * 2, RunContext())
    assert [(row.label, list(row.captions)) for row in shown[0]] == [
        ("two.seed = 2", ["one.seed = 1"]),
        ("two.seed = 3", ["one.seed = 1"]),
    ]


def test_long_names_of_rows_are_folded(tmp_path: Path, shown: list[list[Row]]) -> None:
    XYGrid(x="a.x", x_values="1", y="a.prompts", y_values="a very red apple " * 12).run([image_set(tmp_path)], RunContext())
    lines = shown[0][0].label.split("\n")
    assert len(lines) == 4
    assert max(map(len, lines)) <= 24


def test_combinations_of_different_numbers_are_refused(tmp_path: Path) -> None:
    node = XYGrid(x="sample.images_per_prompt", x_values="1\n2")
    with pytest.raises(InputError, match="different numbers of pictures: 1, 2") as caught:
        node.run([image_set(tmp_path), image_set(tmp_path, 2)], RunContext())
    assert caught.value.field == "x"
    with pytest.raises(InputError, match="1 sets of pictures are no 2 combinations"):
        node.run([image_set(tmp_path)], RunContext())


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    node, images = XYGrid(x="a.rank", x_values="1\n2"), [image_set(tmp_path), replace(image_set(tmp_path))]
    first, second = (node.run(images, RunContext()).images[0].file.read_bytes() for _ in range(2))
    assert first == second
