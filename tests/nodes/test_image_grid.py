"""ImageGrid: rows, names and captions."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from graph_runtime.context import RunContext
from nodes.diffusion.handles.results import GeneratedImage, ImageSet
from nodes.diffusion.pictures import grids
from nodes.sampling.image_grid import ImageGrid

COLORS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")


def image_set(
    folder: Path, prompts: list[str], labels: list[str], columns: int, size: tuple[int, int] = (8, 8), name: str = "p"
) -> ImageSet:
    images: list[GeneratedImage] = []
    for number, prompt in enumerate(prompts):
        file = folder / f"{name}{number}.png"
        Image.new("RGB", size, COLORS[number % len(COLORS)]).save(file)
        images.append(GeneratedImage(file, labels[number // columns], prompt, 3))
    return ImageSet(tuple(images), columns)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Every text that is drawn, with its place."""
    seen: list[tuple[str, int, int]] = []
    for method in ("text", "multiline_text"):
        original = getattr(ImageDraw.ImageDraw, method)

        def draw(self, xy, text, *rest, original=original, **named):
            if (text, round(xy[0]), round(xy[1])) not in seen:
                seen.append((text, round(xy[0]), round(xy[1])))
            return original(self, xy, text, *rest, **named)

        monkeypatch.setattr(ImageDraw.ImageDraw, method, draw)
    return seen


def drawn(*sets: ImageSet, cell: int = 64) -> Image.Image:
    result = ImageGrid(cell_size=cell).run(list(sets), RunContext())
    assert (len(result.images), result.columns) == (1, 1)
    with Image.open(result.images[0].file) as opened:
        return opened.convert("RGB")


def places(grid: Image.Image) -> dict[str, tuple[int, int, int, int] | None]:
    """Where each color lies."""
    found = {}
    for color in COLORS:
        mask = Image.new("1", grid.size)
        mask.putdata([pixel == tuple(bytes.fromhex(color[1:])) for pixel in grid.get_flattened_data()])
        found[color] = mask.getbbox()
    return found


def test_pictures_lie_in_rows_and_share_the_captions_beneath(tmp_path: Path, words: list) -> None:
    grid = drawn(image_set(tmp_path, ["an apple", "a dog"] * 2, ["base", "base + LoRA"], 2))
    found = places(grid)
    assert all(box and (box[2] - box[0], box[3] - box[1]) == (64, 64) for box in found.values())
    red, green, blue, yellow = found.values()
    assert red[1] == green[1] < blue[1] == yellow[1]
    assert red[0] == blue[0] < green[0] == yellow[0]
    texts = {text: y for text, _, y in words}
    assert list(texts) == ["base", "base\n+ LoRA", "an apple", "a dog"]
    assert texts["an apple"] == texts["a dog"] >= blue[3]
    assert grid.getpixel((0, 0)) == grid.getpixel((grid.width - 1, grid.height - 1)) == (255, 255, 255)


def test_rows_of_different_prompts_keep_their_own_captions(tmp_path: Path, words: list) -> None:
    one = image_set(tmp_path, ["an apple"], ["one"], 1)
    two = image_set(tmp_path, ["a dog", "a cat", "a pig", "a cow"], ["two", "three"], 2, name="q")
    drawn(one, two)
    texts = {text: y for text, _, y in words}
    assert texts["an apple"] < texts["a dog"] == texts["a cat"] < texts["a pig"] == texts["a cow"]
    assert {"one", "two", "three"} <= texts.keys()


def test_neighbors_with_one_prompt_share_a_caption(tmp_path: Path, words: list) -> None:
    drawn(image_set(tmp_path, ["an apple", "an apple", "a dog"], [""], 3))
    assert sorted(text for text, _, _ in words if text) == ["a dog", "an apple"]


def test_a_wide_picture_is_shown_whole(tmp_path: Path) -> None:
    box = places(drawn(image_set(tmp_path, ["a"], [""], 1, size=(16, 8))))[COLORS[0]]
    assert box is not None
    assert (box[2] - box[0], box[3] - box[1]) == (64, 32)


def test_long_captions_are_wrapped_and_cut_to_their_width() -> None:
    font = grids.ImageFont.load_default(12)
    lines = grids._wrapped("a very long caption " * 9 + "x" * 99, font, 80)
    assert len(lines) == grids.MAX_LINES
    assert lines[-1].endswith("...")
    assert all(font.getlength(line) <= 80 for line in lines)
    assert grids._wrapped("", font, 80) == []


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    images = image_set(tmp_path, ["an apple", "a dog"], ["base"], 2)
    first, second = (ImageGrid().run([images], RunContext()).images[0].file.read_bytes() for _ in range(2))
    assert first == second
