"""Sending of the user's files: pictures are shown, all others are downloads, and the browser runs none of them."""

import asyncio
import os
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from pydantic import BaseModel, ConfigDict, Field

from graph_runtime.reading import open_regular
from web.api.services import Services
from web.api.thumbnails import raster_type

SANDBOX = "sandbox; default-src 'none'"


class Thumbnail(BaseModel):
    """The wanted side of a thumbnail; without it, the file itself."""

    model_config = ConfigDict(extra="ignore")
    thumbnail: int | None = Field(default=None, ge=16, le=1024)


class _Opened(web.FileResponse):
    """Sends an open file, even when its path has another file by now or a compressed one beside it."""

    def __init__(self, file: BufferedReader, headers: dict[str, str]) -> None:
        super().__init__(file.name, headers=headers)
        self._file = file

    def open(self, _: str) -> BufferedReader:
        """Return the open file in place of the path that the base class opens."""
        return self._file

    def _get_file_path_stat_encoding(self, accept_encoding: str) -> tuple[Any, os.stat_result, str | None]:
        return self, os.fstat(self._file.fileno()), None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        try:
            return await super().prepare(request)
        finally:
            self._file.close()


async def send_file(services: Services, file: BufferedReader, thumbnail: int | None) -> web.StreamResponse:
    """Return an open file or a picture's thumbnail; supports range requests."""
    name = Path(file.name).name
    try:
        if thumbnail is not None:
            small = await services.thumbnails.find(file, thumbnail)
            file.close()
            file = await asyncio.to_thread(open_regular, small)
        kind = await asyncio.to_thread(raster_type, file)
    except BaseException:
        file.close()
        raise
    headers = {
        "Content-Type": kind or "application/octet-stream",
        "Content-Disposition": f"{'inline' if kind else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": SANDBOX,
        "Cache-Control": "private, no-cache",
    }
    return _Opened(file, headers)
