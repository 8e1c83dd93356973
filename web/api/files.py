"""Listing and sending files of the workspace."""

import asyncio
import os
from pathlib import Path
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from graph_runtime.reading import open_regular
from graph_runtime.workspace import PathRefused
from nodes.diffusion.formats.file_formats import format_of
from nodes.diffusion.pictures.picture_kinds import readable_suffixes
from web.api.models import FileEntry, FileList
from web.api.path_access import PathAccess, as_text
from web.api.refusal import refused
from web.api.sending import Thumbnail, send_file
from web.api.services import Services

Kind = Literal["folder", "image", "model", "workflow", "file"]
PEEK = 256


class Where(BaseModel):
    """A path in the workspace; empty is the root."""

    model_config = ConfigDict(extra="forbid")
    path: str = ""


class Which(Thumbnail):
    """A file of the workspace."""

    path: str


async def list_files(services: Services, request: web.Request, query: Where) -> FileList:
    """Return the entries of a folder of the workspace, folders first."""
    return await asyncio.to_thread(_listed, services.paths, query.path)


async def send_content(services: Services, request: web.Request, query: Which) -> web.StreamResponse:
    """Return a file of the workspace."""
    return await send_file(services, await asyncio.to_thread(services.paths.open, query.path), query.thumbnail)


def _listed(paths: PathAccess, path: str) -> FileList:
    folder = paths.to_read(path)
    if not folder.is_dir() or not folder.is_relative_to(paths.root):
        raise refused(404, f"There is no folder {path[:200]!r} in the workspace.")
    entries = [entry for item in os.scandir(folder) if (entry := _entry(paths, Path(item.path)))]
    entries.sort(key=lambda entry: (entry.kind != "folder", entry.name.casefold()))
    return FileList(
        path=paths.relative(folder),
        parent=None if folder == paths.root else paths.relative(folder.parent),
        entries=entries,
        images=sum(entry.kind == "image" for entry in entries),
    )


def _entry(paths: PathAccess, item: Path) -> FileEntry | None:
    """Return the entry of a file or folder; None if it is hidden, unreadable, outside, or its name is no valid text."""
    if item.name.startswith(".") or item.name != as_text(item.name):
        return None
    try:
        place = paths.to_read(paths.relative(item))
        status = place.stat()
        kind = _kind(place)
    except (OSError, PathRefused):
        return None
    size = 0 if place.is_dir() else status.st_size
    return FileEntry(name=item.name, path=paths.relative(item), kind=kind, bytes=size, modified=status.st_mtime)


def _kind(place: Path) -> Kind:
    if place.is_dir():
        return "model" if (place / "model_index.json").is_file() else "folder"
    suffix = place.suffix.lower()
    if suffix in readable_suffixes():
        return "image"
    if (model := format_of(place)) and model.is_listed:
        return "model"
    return "workflow" if suffix == ".json" and _is_workflow(place) else "file"


def _is_workflow(place: Path) -> bool:
    with open_regular(place) as file:
        return b'"latentloom/' in file.read(PEEK)
