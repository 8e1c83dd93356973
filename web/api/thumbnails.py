"""Thumbnails, stored by content; a picture with a huge declared size is refused before it is decoded."""

import asyncio
import io
import os
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path

from graph_runtime.files import write_atomic
from graph_runtime.reading import Stamp, digest_of, stamp_from
from nodes.diffusion.pictures.picture_kinds import extra_formats, picture_type
from web.api.refusal import refused

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 80 * 10**6
"""About 320 MB while decoding; a 45-megapixel photograph passes."""
MAX_BYTES = 4 * MAX_PIXELS
"""The bytes of the largest picture uncompressed."""
MAX_KEPT_BYTES = 512 * 2**20
MAX_DIGESTS = 50_000
TIDIED_EVERY = 200
SIDES = (64, 128, 256, 512, 1024)


class Thumbnails:
    """Makes WebP thumbnails, two at a time, and stores them in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="thumbnails")
        self._digests: dict[Stamp, str] = {}
        self._made = 0

    async def find(self, picture: BufferedReader, side: int) -> Path:
        """Return the file of a thumbnail, of the next larger of the stored sides."""
        side = next((kept for kept in SIDES if kept >= side), SIDES[-1])
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._find, picture, side)

    def close(self) -> None:
        """Wait for thumbnails in the making."""
        self._threads.shutdown(cancel_futures=True)

    def _find(self, picture: BufferedReader, side: int) -> Path:
        name = Path(picture.name).name
        if not raster_type(picture):
            raise refused(422, f"{name} is not a picture that can be shown.")
        if os.fstat(picture.fileno()).st_size > MAX_BYTES:
            raise refused(422, f"{name} is too large for a small picture.")
        place = self._folder / f"{self._digest(picture)}-{side}.webp"
        if not place.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(place, make_thumbnail(picture, side))
            self._made += 1
            if self._made % TIDIED_EVERY == 1:
                self._tidy()
        return place

    def _tidy(self) -> None:
        """Remove the oldest thumbnails until at most `MAX_KEPT_BYTES` are left."""
        kept = 0
        found = ((place.stat(), place) for place in self._folder.glob("*.webp"))
        for status, place in sorted(found, key=lambda entry: entry[0].st_mtime_ns, reverse=True):
            kept += status.st_size
            if kept > MAX_KEPT_BYTES:
                place.unlink(missing_ok=True)

    def _digest(self, picture: BufferedReader) -> str:
        stamp = stamp_from(os.fstat(picture.fileno()))
        if stamp not in self._digests:
            if len(self._digests) >= MAX_DIGESTS:
                self._digests.clear()
            self._digests[stamp] = digest_of(picture)
            picture.seek(0)
        return self._digests[stamp]


def make_thumbnail(picture: BufferedReader, side: int) -> bytes:
    """Return a WebP of at most `side` pixels; refuse a file that is no picture, damaged or too large."""
    from PIL import Image, ImageOps

    name = Path(picture.name).name
    try:
        with Image.open(picture, formats=picture_formats()) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise refused(422, f"{name} has {opened.width} x {opened.height} pixels, too many for a small picture.")
            opened.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(opened)
            small.thumbnail((side, side))
            made = io.BytesIO()
            small.convert("RGBA" if small.has_transparency_data else "RGB").save(made, "WEBP", quality=80)
            return made.getvalue()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise refused(422, f"{name} is too large for a small picture.") from None
    except (OSError, SyntaxError, ValueError, EOFError):
        raise refused(422, f"{name} is not a picture that can be shown.") from None


def picture_formats() -> tuple[str, ...]:
    """Return Pillow's names of readable formats, including those of installed plugins."""
    return (*FORMATS, *extra_formats())


def raster_type(file: BufferedReader) -> str:
    """Return the media type of a raster picture by its first bytes, empty for anything else."""
    start = file.read(16)
    file.seek(0)
    return picture_type(start)
