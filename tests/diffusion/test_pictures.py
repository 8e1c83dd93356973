"""Pictures of every kind, upright and opaque; damaged ones named."""

import io
import struct
from pathlib import Path

import pytest
import torch
from PIL import Image

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import View
from nodes.diffusion.pictures import pictures
from nodes.diffusion.pictures.pictures import as_picture, as_tensor, open_picture, render, save_png

ORIENTATION = 0x0112


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10), "red")
    image.putpixel((0, 0), (0, 0, 255))
    exif = image.getexif()
    exif[ORIENTATION] = 6  # the camera was turned: show it a quarter turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    opened = open_picture(tmp_path / "a.png")
    assert opened.size == (10, 20)
    assert opened.getpixel((9, 0)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_flattened_on_the_background(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image = image.convert(mode) if mode != "P" else image.quantize(4)
    image.save(tmp_path / "a.png")
    opened = open_picture(tmp_path / "a.png", (10, 200, 30))
    assert opened.mode == "RGB"
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(10, 200, 30), (0, 0, 0)]


def test_half_transparent_pixels_are_mixed(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png", (255, 255, 255)).getpixel((0, 0)) == (127, 127, 127)


def test_sixteen_bits_keep_their_grays(tmp_path: Path) -> None:
    image = Image.new("I;16", (3, 1))
    for x, value in enumerate((0, 32768, 65535)):
        image.putpixel((x, 0), value)
    image.save(tmp_path / "a.png")
    opened = open_picture(tmp_path / "a.png")
    assert [opened.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_numbers_too_deep_to_guess_their_range_are_refused(tmp_path: Path) -> None:
    Image.new("F", (2, 2), 200.0).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match="32 bits deep"):
        open_picture(tmp_path / "a.tiff")


def test_cmyk_gray_and_bilevel_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = open_picture(tmp_path / "a.jpg").getpixel((1, 1))
    assert red > 200 > 60 > max(green, blue)
    Image.new("L", (1, 1), 77).save(tmp_path / "b.png")
    assert open_picture(tmp_path / "b.png").getpixel((0, 0)) == (77, 77, 77)
    Image.new("1", (1, 1), 1).save(tmp_path / "c.png")
    assert open_picture(tmp_path / "c.png").getpixel((0, 0)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_picture(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def damaged() -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, format="PNG")
    png = buffer.getvalue()
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, format="JPEG")
    return {
        "empty": b"",
        "text": b"not a picture",
        "cut png": png[: len(png) // 2],
        "cut jpg": buffer.getvalue()[:600],
        "zip": b"PK\3\4" + b"\0" * 50,
    }


@pytest.mark.parametrize("kind", damaged())
def test_a_damaged_picture_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "odd.png").write_bytes(damaged()[kind])
    with pytest.raises(InputError, match=r"sub/odd\.png"):
        open_picture(tmp_path / "odd.png", name="sub/odd.png")


def test_damaged_exif_is_an_input_error(tmp_path: Path, monkeypatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "odd.jpg")

    def fail(image: Image.Image) -> Image.Image:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(pictures.ImageOps, "exif_transpose", fail)
    with pytest.raises(InputError, match=r"odd\.jpg cannot be read"):
        open_picture(tmp_path / "odd.jpg")


def test_a_picture_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch) -> None:
    Image.new("1", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 9_999)
    with pytest.raises(InputError, match="100 x 100"):
        open_picture(tmp_path / "a.png")


def test_render_resizes_crops_and_mirrors() -> None:
    image = Image.new("RGB", (8, 4), "white")
    image.paste("black", (4, 0, 8, 4))
    view = View(resized=(4, 2), crop=(1, 0), size=(2, 2))
    assert [render(image, view).getpixel((x, 0))[0] > 127 for x in (0, 1)] == [True, False]
    flipped = View(view.resized, view.crop, view.size, flipped=True)
    assert [render(image, flipped).getpixel((x, 0))[0] > 127 for x in (0, 1)] == [False, True]


def test_tensors_and_pictures_are_each_others_inverse() -> None:
    image = Image.effect_noise((7, 5), 80).convert("RGB")
    tensor = as_tensor(image)
    assert tensor.shape == (3, 5, 7)
    assert float(tensor.min()) >= -1
    assert float(tensor.max()) <= 1
    assert as_picture(tensor).tobytes() == image.tobytes()
    assert as_picture(torch.full((3, 1, 1), 7.0)).getpixel((0, 0)) == (255, 255, 255)


def test_the_same_pixels_and_texts_are_the_same_bytes(tmp_path: Path) -> None:
    image = Image.effect_noise((7, 5), 80).convert("RGB")
    for name in ("a", "b"):
        save_png(image, tmp_path / name, {"k": "grüße"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with Image.open(tmp_path / "a") as opened:
        assert opened.text["k"] == "grüße"
