"""Pictures as a model needs them: upright, opaque, RGB, cut to size."""

import io
import math
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import Picture, View
from nodes.diffusion.pictures.picture_kinds import extra_formats

MAX_PIXELS = 256 * 2**20
Color = tuple[int, int, int]
File = Path | IO[bytes]
WHITE: Color = (255, 255, 255)
OpenByDigest = Callable[[str], AbstractContextManager[IO[bytes]]]


def picture_of(item: Picture, open_outside: OpenByDigest, background: Color = WHITE) -> Image.Image:
    """Return an item of a data set as `open_picture` does: from the file that a node has made, or from outside, by its digest."""
    return _of(item, open_outside, lambda file: open_picture(file, background, item.name))


def cutout_of(item: Picture, open_outside: OpenByDigest, side: int) -> Image.Image:
    """Return an item of a data set as `open_cutout` does."""
    return _of(item, open_outside, lambda file: open_cutout(file, side, item.name))


def _of(item: Picture, open_outside: OpenByDigest, opened: Callable[[File], Image.Image]) -> Image.Image:
    if item.file:
        return opened(item.file)
    with open_outside(item.digest) as file:
        return opened(file)


def open_picture(file: File, background: Color = WHITE, name: str = "") -> Image.Image:
    """Return the picture in RGB, turned by its EXIF data, flattened on `background`; raise InputError when it is damaged."""
    return _opened(file, name, lambda image: _flattened(image, background))


def open_cutout(file: File, side: int, name: str = "") -> Image.Image:
    """Return the picture in RGBA, turned by its EXIF data, no side longer than `side`; raise InputError when it is damaged."""

    def cut(image: Image.Image) -> Image.Image:
        found = (_flattened(image, WHITE) if image.mode[:1] in "IF" else image).convert("RGBA")
        found.thumbnail((side, side), Image.Resampling.LANCZOS)
        return found

    return _opened(file, name, cut)


def _opened(file: File, name: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    name = name or (file.name if isinstance(file, Path) else "the picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of oversized pictures; the next lines refuse them
            extra_formats()
            with Image.open(file) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise InputError(f"{name} has {opened.width} x {opened.height} pixels, which is too many.", field="folder")
                opened.load()
                return convert(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture.", field="folder") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        if isinstance(error, InputError | FileNotFoundError):
            raise
        raise InputError(f"{name} cannot be read: {error}.", field="folder", remedy="Replace or remove it.") from None


def _flattened(image: Image.Image, background: Color) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and max(image.getextrema()) > 65535):  # pyright: ignore
        raise ValueError("its numbers are 32 bits deep; 8 or 16 are needed")
    if image.mode.startswith("I"):
        return _from_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        top = image.convert("RGBA")
        bottom = Image.new("RGBA", top.size, (*background, 255))
        return Image.alpha_composite(bottom, top).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Return 16-bit gray as 8 bits; Pillow's own conversion clips everything above 255 to white."""
    return image.convert("F").point(lambda value: value * (255 / 65535)).convert("L")


def render(image: Image.Image, view: View, background: Color = WHITE) -> Image.Image:
    """Resize, crop and perhaps mirror a picture; the area outside of it is `background`."""
    resized = image.resize(view.resized, Image.Resampling.LANCZOS, reducing_gap=3.0) if image.size != view.resized else image
    left, top = view.crop
    if min(left, top) < 0:
        cut = Image.new("RGB", view.size, background)
        cut.paste(resized, (-left, -top))
    else:
        cut = resized.crop((left, top, left + view.size[0], top + view.size[1]))
    return ImageOps.mirror(cut) if view.flipped else cut


def as_tensor(image: Image.Image) -> Tensor:
    """Return an RGB picture as float32 [3, h, w] in -1..1."""
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return values.reshape(image.height, image.width, 3).permute(2, 0, 1).float() / 127.5 - 1


def as_picture(tensor: Tensor) -> Image.Image:
    """Return a tensor [3, h, w] in -1..1 as an RGB picture."""
    values = ((tensor.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.frombytes("RGB", (values.shape[2], values.shape[1]), values.permute(1, 2, 0).contiguous().numpy().tobytes())


def save_png(image: Image.Image, path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write a PNG whose bytes depend on the pixels and the texts alone."""
    info = PngInfo()
    for key, text in (texts or {}).items():
        info.add_itxt(key, text)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    path.write_bytes(buffer.getvalue())


def in_a_row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return the pictures beside each other."""
    row = Image.new("RGB", (sum(picture.width for picture in pictures), max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    return row


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return the peak signal-to-noise ratio in dB of two RGB pictures of one size; infinite when they are equal."""
    error = float((as_tensor(one) - as_tensor(other)).square().mean())
    return -10 * math.log10(error / 4) if error else math.inf
