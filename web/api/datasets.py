"""A folder of pictures as LoadImages sees it, and writing its captions."""

import asyncio
from pathlib import Path

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from graph_runtime.files import write_atomic
from graph_runtime.workspace import PathRefused
from nodes.diffusion.buckets import Size, bucket_sizes, nearest_bucket
from nodes.diffusion.errors import InputError
from nodes.diffusion.picture_folders import caption_texts, picture_files
from web.api.models import CaptionsRequest, Dataset, DatasetItem
from web.api.places import Places, as_text
from web.api.refusal import refused
from web.api.services import Services
from web.api.thumbnails import FORMATS

ORIENTATION = 0x0112
TURNED = range(5, 9)
MAX_CAPTION = 20_000


class Wanted(BaseModel):
    """A folder, and how its pictures would be cut."""

    model_config = ConfigDict(extra="forbid")
    folder: str
    resolution: int = Field(default=128, ge=32, le=4096, multiple_of=8)
    buckets: bool = False
    bucket_step: int = Field(default=64, ge=8, le=256, multiple_of=8)


async def show_dataset(services: Services, request: web.Request, query: Wanted) -> Dataset:
    """Return the pictures of a folder with captions and sizes."""
    return await asyncio.to_thread(_dataset, services.places, query)


async def save_captions(services: Services, request: web.Request, body: CaptionsRequest) -> None:
    """Write captions into the `.txt` files beside their pictures."""
    await asyncio.to_thread(_write, services.places, body)


def _dataset(places: Places, wanted: Wanted) -> Dataset:
    folder = places.to_read(wanted.folder)
    if not folder.is_dir():
        raise refused(404, f"There is no folder {wanted.folder[:200]!r}.")
    sizes = [(wanted.resolution, wanted.resolution)]
    if wanted.buckets:
        sizes = bucket_sizes(wanted.resolution, min(wanted.bucket_step, wanted.resolution))
    files = picture_files(folder)
    texts = _captions(folder, files)
    items = [_item(places, wanted, folder, file, sizes, texts) for file in files]
    return Dataset(folder=wanted.folder, items=items)


def _captions(folder: Path, files: list[Path]) -> dict[str, str]:
    """Return captions by picture name; refuse with 422 when their table is damaged."""
    try:
        return {name: as_text(caption) for name, caption in caption_texts(folder, files)}
    except InputError as error:
        raise refused(422, str(error), error.remedy) from None


def _item(places: Places, wanted: Wanted, folder: Path, file: Path, sizes: list[Size], texts: dict[str, str]) -> DatasetItem:
    name = file.relative_to(folder).as_posix()
    shown = as_text(name)
    size, problem = (0, 0), "" if shown == name else "Its name is not text (UTF-8): rename it."
    try:
        size = picture_size(places.to_read(str(file)))
    except PathRefused:
        problem = "It is a link out of the workspace."
    except (OSError, SyntaxError, ValueError) as error:
        problem = f"It cannot be read: {error}."[:200]
    return DatasetItem(
        name=shown,
        path=f"{wanted.folder.rstrip('/')}/{shown}",
        width=size[0],
        height=size[1],
        caption=texts.get(name),
        bucket="" if problem else "{}x{}".format(*nearest_bucket(size, sizes)),
        problem=problem,
    )


def picture_size(file: Path) -> Size:
    """Return width and height of an upright picture, from its header alone."""
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as opened:
            turned = opened.getexif().get(ORIENTATION) in TURNED
            return (opened.height, opened.width) if turned else opened.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("it has too many pixels") from None
    except OSError:
        raise ValueError("it is not a picture") from None


def _write(places: Places, body: CaptionsRequest) -> None:
    """Check everything before anything is written."""
    folder = places.to_read(body.folder)
    pictures = {file.relative_to(folder).as_posix(): file for file in picture_files(folder)}
    now = _captions(folder, list(pictures.values()))
    changed = [name for name in body.captions if now.get(name) != body.seen.get(name)]
    if changed:
        names = ", ".join(changed[:5])
        raise refused(409, f"The captions of {names} have been changed elsewhere.", "Close the pictures and open them again.")
    texts: dict[Path, str] = {}
    for name, caption in body.captions.items():
        if name not in pictures or not folder.is_relative_to(places.root):
            remedy = "Captions are written beside pictures of the workspace; copy the folder into it first."
            raise refused(404, f"There is no picture {name[:200]!r} in {body.folder[:200]!r}.", remedy)
        if len(caption) > MAX_CAPTION:
            raise refused(400, f"The caption of {name[:200]!r} is too long.")
        place = places.to_read(str(pictures[name].with_suffix(".txt")))
        if texts.setdefault(place, caption.strip()) != caption.strip():
            remedy = "Give both the same caption, or rename one of the pictures."
            raise refused(409, f"{name[:200]!r} and another picture share the file {place.name[:200]!r}.", remedy)
    for place, caption in texts.items():
        write_atomic(place, f"{caption}\n".encode())
