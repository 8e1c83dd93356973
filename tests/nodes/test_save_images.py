"""SaveImages: names, pixels and what the files carry."""

from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from graph_runtime.context import Provenance, RunContext
from graph_runtime.provenance import read_provenance
from nodes.diffusion.handles.results import GeneratedImage, ImageSet
from nodes.diffusion.pictures.pictures import save_png
from nodes.output.save_images import SaveImages

CARRIED = {"workflow": {"name": "größe", "nodes": {}}, "inputs": {"b": "2", "a": "1"}, "versions": {"torch": "2"}}


def image_set(folder: Path, count: int) -> ImageSet:
    images: list[GeneratedImage] = []
    for number in range(count):
        file = folder / f"{number}.png"
        save_png(Image.new("RGB", (4, 4), (number, 2, 3)), file, {"parameters": f"apple\nSteps: {number}"})
        images.append(GeneratedImage(file, "m", "apple", number))
    return ImageSet(tuple(images), max(count, 1))


@pytest.mark.parametrize("filename", ["grid", "grid.png", "grid.PNG"])
def test_one_picture_has_the_name_and_several_are_numbered(tmp_path: Path, filename: str) -> None:
    node = SaveImages(filename=filename)
    assert [artifact.name for artifact in node.run(image_set(tmp_path, 1), RunContext())] == ["grid.png"]
    assert [artifact.name for artifact in node.run(image_set(tmp_path, 2), RunContext())] == ["grid-001.png", "grid-002.png"]


def test_files_carry_the_workflow_and_keep_pixels_and_parameters(tmp_path: Path) -> None:
    saved = SaveImages().run(image_set(tmp_path, 2), RunContext(provenance=Provenance(**CARRIED)))
    assert [(artifact.caption, artifact.group) for artifact in saved] == [("m", "apple")] * 2
    for number, artifact in enumerate(saved):
        assert read_provenance(artifact.file) == CARRIED
        with Image.open(artifact.file) as opened:
            assert opened.text["parameters"] == f"apple\nSteps: {number}"
            assert opened.getpixel((0, 0)) == (number, 2, 3)


def test_the_order_of_what_is_carried_does_not_change_the_bytes(tmp_path: Path) -> None:
    turned = {name: dict(reversed(value.items())) for name, value in reversed(CARRIED.items())}
    images = image_set(tmp_path, 1)
    first, second = (
        SaveImages().run(images, RunContext(provenance=Provenance(**carried)))[0].file.read_bytes()
        for carried in (CARRIED, turned)
    )
    assert first == second


@pytest.mark.parametrize("filename", ["../x", "a/b", ".hidden", "a\\b", ""])
def test_a_name_is_no_path(filename: str) -> None:
    with pytest.raises(ValidationError):
        SaveImages(filename=filename)
