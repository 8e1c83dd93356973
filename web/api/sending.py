"""Sending a person's files: pictures are shown, everything else can only be saved, nothing is run by the browser."""

import asyncio
import os
import pathlib
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from web.api.refusal import refused
from web.api.services import Services
from web.api.thumbnails import raster_type

SANDBOX = "sandbox; default-src 'none'"


class Thumbnail(BaseModel):
    """The wanted side of a small version; without it, the file itself."""

    model_config = ConfigDict(extra="ignore")
    thumbnail: int | None = Field(default=None, ge=16, le=1024)


class _Plain(web.FileResponse):
    """Sends exactly this file: never a compressed one that happens to lie beside it."""

    def _get_file_path_stat_encoding(self, accept_encoding: str) -> tuple[pathlib.Path | None, os.stat_result, str | None]:
        return super()._get_file_path_stat_encoding("")


async def send_file(services: Services, place: pathlib.Path, thumbnail: int | None) -> web.StreamResponse:
    """Return a file, or a small version of a picture; range requests are answered."""
    if not await asyncio.to_thread(place.is_file):
        raise refused(404, f"There is no file {place.name[:200]!r}.")
    name = place.name
    if thumbnail is not None:
        place = await services.thumbnails.find(place, thumbnail)
    kind = await asyncio.to_thread(raster_type, place)
    headers = {
        "Content-Type": kind or "application/octet-stream",
        "Content-Disposition": f"{'inline' if kind else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": SANDBOX,
        "Cache-Control": "private, no-cache",
    }
    return _Plain(place, headers=headers)
