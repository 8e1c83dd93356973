"""Uploads: allowed kinds only, checked by content, streamed to the disk, never over another file."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from graph_runtime.files import numbered, place
from graph_runtime.reading import open_regular
from nodes.diffusion.formats.file_formats import FORMATS, format_of
from nodes.diffusion.pictures.picture_kinds import readable_suffixes, unread_because
from web.api.models import Uploaded
from web.api.path_access import check_name
from web.api.refusal import refused
from web.api.services import Services
from web.api.thumbnails import raster_type

TEXTS = frozenset({".txt", ".caption", ".json", ".jsonl", ".csv", ".md"})
MAX_BYTES = 2 * 2**30
RESERVE_BYTES = 512 * 2**20
"""Bytes that are left free on the disk for runs."""
UNFINISHED = "upload-"
CHUNK_BYTES = 2**20
CHUNK_SECONDS = 30.0
UPLOAD_SECONDS = 3600.0


class Target(BaseModel):
    """The destination of an uploaded file."""

    model_config = ConfigDict(extra="forbid")
    folder: str = ""
    name: str


async def upload_file(services: Services, request: web.Request, query: Target) -> Uploaded:
    """Write an uploaded file to the workspace, under the next free number when its name is taken."""
    name = check_name(query.name)
    models = {suffix for suffix, kind in FORMATS.items() if kind.is_uploaded}
    if Path(name).suffix.lower() not in readable_suffixes() | TEXTS | models:
        why = f": {unread}" if (unread := unread_because(name)) else ""
        remedy = f"Pictures, text files and {', '.join(sorted(models))} are."
        raise refused(415, f"{name!r} is of a kind that is not taken{why}.", remedy)
    folder = services.paths.to_write(query.folder)
    _check_room(folder, services.settings.state, request.content_length or 0)
    handle, temporary = tempfile.mkstemp(dir=services.settings.state, prefix=UNFINISHED, suffix=Path(name).suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            await _receive(request, file, services.settings.state)
        kept = await asyncio.to_thread(_keep, Path(temporary), folder, name)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return Uploaded(path=services.paths.relative(kept))


def sweep(state: Path) -> None:
    """Remove unfinished uploads of a killed server."""
    for left in state.glob(f"{UNFINISHED}*"):
        left.unlink()


def _check_room(folder: Path, state: Path, size: int) -> None:
    if folder.exists() and not folder.is_dir():
        raise refused(400, "The folder is a file.")
    if size > MAX_BYTES:
        raise refused(413, f"A file of more than {MAX_BYTES / 2**30:.0f} GiB is not taken.", "Copy it there by hand.")
    if shutil.disk_usage(state).free < size + RESERVE_BYTES:
        raise refused(507, "There is not enough room on the disk.", "Free some space.")


async def _receive(request: web.Request, file: IO[bytes], state: Path) -> None:
    """Write the body to `file`; refuse one that is too large or incomplete."""
    received = 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            while chunk := await asyncio.wait_for(request.content.read(CHUNK_BYTES), CHUNK_SECONDS):
                received += len(chunk)
                _check_room(state, state, received if received > MAX_BYTES else 0)
                await asyncio.to_thread(file.write, chunk)
    except TimeoutError:
        raise refused(408, "The file took too long to arrive.") from None


def _keep(temporary: Path, folder: Path, name: str) -> Path:
    """Check an uploaded file and move it to its name."""
    _check_content(temporary, name)
    folder.mkdir(parents=True, exist_ok=True)
    temporary.chmod(0o644)
    for target in numbered(folder / name):
        try:
            place(temporary, target)
        except FileExistsError:
            continue
        return target
    raise AssertionError("numbers do not end")


def _check_content(file: Path, name: str) -> None:
    suffix = file.suffix.lower()
    with open_regular(file) as opened:
        is_picture = bool(raster_type(opened))
    if suffix in readable_suffixes() and not is_picture:
        raise refused(415, f"{name!r} is not the picture that its name says.")
    if kind := format_of(file):
        try:
            kind.header(file)
        except (LookupError, TypeError, AttributeError, ValueError):
            raise refused(415, f"{name!r} is not a {kind.name} file.", "Pickled models are not taken.") from None
