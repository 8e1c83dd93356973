"""A folder of pictures as LoadImages reads it, and writing its captions."""

import asyncio
from pathlib import Path, PurePosixPath
from typing import IO

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from graph_runtime.files import write_atomic
from graph_runtime.workspace import PathRefused
from nodes.diffusion.errors import InputError
from nodes.diffusion.pictures.buckets import Size, bucket_sizes, nearest_bucket
from nodes.diffusion.pictures.caption_files import Captions, read_captions
from nodes.diffusion.pictures.picture_folders import (
    MAX_REPEATS,
    PictureFolder,
    folder_repeats,
    left_out_warnings,
    read_folder,
    repeats_notes,
)
from web.api.models import CaptionsRequest, Dataset, DatasetItem
from web.api.path_access import PathAccess, as_text
from web.api.refusal import Refused, refused
from web.api.services import Services
from web.api.thumbnails import picture_formats

ORIENTATION = 0x0112
TURNED = range(5, 9)
MAX_CAPTION = 20_000


class Wanted(BaseModel):
    """A folder, and the settings with which its pictures are cropped."""

    model_config = ConfigDict(extra="forbid")
    folder: str
    resolution: int = Field(default=128, ge=32, le=4096, multiple_of=8)
    buckets: bool = False
    bucket_step: int = Field(default=64, ge=8, le=256, multiple_of=8)
    max_repeats: int = Field(default=MAX_REPEATS, ge=1, le=10_000)


async def show_dataset(services: Services, request: web.Request, query: Wanted) -> Dataset:
    """Return the pictures of a folder with captions and sizes."""
    return await asyncio.to_thread(_dataset, services.paths, query)


async def save_captions(services: Services, request: web.Request, body: CaptionsRequest) -> None:
    """Write captions into the files beside their pictures, `.txt` where there is none."""
    await asyncio.to_thread(_write, services.paths, body)


def _dataset(paths: PathAccess, wanted: Wanted) -> Dataset:
    folder = paths.to_read(wanted.folder)
    if not folder.is_dir():
        raise refused(404, f"There is no folder {wanted.folder[:200]!r}.")
    sizes = [(wanted.resolution, wanted.resolution)]
    if wanted.buckets:
        sizes = bucket_sizes(wanted.resolution, min(wanted.bucket_step, wanted.resolution))
    found = _found(paths, folder)
    captions = _captions(found)
    items = [_item(paths, wanted, found, file, sizes, captions) for file in found.pictures]
    repeats, warned = repeats_notes([item.name for item in items], wanted.max_repeats)
    notes = [*left_out_warnings(found.left_out), *captions.all_notes(), *warned, *repeats]
    return Dataset(folder=wanted.folder, items=items, notes=[as_text(note) for note in notes])


def _found(paths: PathAccess, folder: Path) -> PictureFolder:
    return read_folder(folder, paths.to_read, lambda path: _content(paths, path))


def _opened(paths: PathAccess, path: Path) -> IO[bytes]:
    """Open a file of a dataset; raise OSError for a fault of this file alone."""
    try:
        return paths.open(str(path))
    except (PathRefused, Refused):
        raise OSError("it does not open") from None


def _content(paths: PathAccess, path: Path) -> bytes:
    with _opened(paths, path) as file:
        return file.read()


def _captions(found: PictureFolder) -> Captions:
    """Return the captions of a folder; refuse with 422 when a table of them cannot be read."""
    try:
        return read_captions(found)
    except InputError as error:
        raise refused(422, str(error), error.remedy) from None


def _item(
    paths: PathAccess, wanted: Wanted, found: PictureFolder, file: Path, sizes: list[Size], captions: Captions
) -> DatasetItem:
    name = found.name(file)
    size, problem = (0, 0), ""
    try:
        with _opened(paths, file) as opened:
            size = picture_size(opened)
    except (OSError, SyntaxError, ValueError) as error:
        problem = f"It cannot be read: {error}."[:200]
    bucket = "" if problem else "{}x{}".format(*nearest_bucket(size, sizes))
    if not problem and (unread := captions.problems.get(name)):
        problem = as_text(f"Its caption: {unread} {unread.remedy}")
    return DatasetItem(
        name=name,
        path=f"{wanted.folder.rstrip('/')}/{name}",
        width=size[0],
        height=size[1],
        caption=None if (caption := captions.texts.get(name)) is None else as_text(caption),
        bucket=bucket,
        repeats=folder_repeats(PurePosixPath(name).parent.name, wanted.max_repeats)[0],
        problem=problem,
    )


def picture_size(file: IO[bytes]) -> Size:
    """Return width and height of an upright picture, from its header alone."""
    from PIL import Image

    try:
        with Image.open(file, formats=picture_formats()) as opened:
            turned = opened.getexif().get(ORIENTATION) in TURNED
            return (opened.height, opened.width) if turned else opened.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("it has too many pixels") from None
    except OSError:
        raise ValueError("it is not a picture") from None


def _write(paths: PathAccess, body: CaptionsRequest) -> None:
    """Write the captions, after all of them have been checked."""
    folder = paths.to_read(body.folder)
    found = _found(paths, folder)
    pictures, now = {found.name(file): file for file in found.pictures}, _captions(found)
    changed = [name for name in body.captions if now.texts.get(name) != body.seen.get(name)]
    if changed:
        names = ", ".join(changed[:5])
        raise refused(409, f"The captions of {names} have been changed elsewhere.", "Close the pictures and open them again.")
    texts: dict[Path, str] = {}
    for name, caption in body.captions.items():
        if unread := now.problems.get(name):
            raise refused(422, str(unread), unread.remedy)
        if name not in pictures or not folder.is_relative_to(paths.root):
            remedy = "Captions are written beside pictures of the workspace; copy the folder into it first."
            raise refused(404, f"There is no picture {name[:200]!r} in {body.folder[:200]!r}.", remedy)
        if len(caption) > MAX_CAPTION:
            raise refused(400, f"The caption of {name[:200]!r} is too long.")
        place = paths.to_read(str(now.files.get(name) or pictures[name].with_suffix(".txt")))
        if texts.setdefault(place, caption.strip()) != caption.strip():
            remedy = "Give both the same caption, or rename one of the pictures."
            raise refused(409, f"{name[:200]!r} and another picture share the file {place.name[:200]!r}.", remedy)
    for place, caption in texts.items():
        write_atomic(place, f"{caption}\n".encode())
