"""The built page."""

import mimetypes
from pathlib import Path

from aiohttp import web

from graph_runtime.workspace import PathRefused, Workspace
from web.api.refusal import refused

STATIC = Path(__file__).resolve().parent.parent / "static"
UNBUILT = """<!doctype html><meta charset="utf-8"><title>Latent Loom</title>
<p>The editor has not been built. In the program's folder:
<code>make page</code>, or <code>python -m web.build</code>, then load this page again.</p>"""
FOREVER = "public, max-age=31536000, immutable"
TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".svg": "image/svg+xml"}


async def show_page(request: web.Request) -> web.StreamResponse:
    """Return the page, which browsers revalidate at each visit."""
    page = STATIC / "index.html"
    if not page.is_file():
        return web.Response(text=UNBUILT, content_type="text/html")
    return web.FileResponse(page, headers={"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"})


async def show_asset(request: web.Request) -> web.StreamResponse:
    """Return a file of the page; names below `assets/` change with their content."""
    path = request.path.lstrip("/")
    try:
        place = Workspace(STATIC).resolve(path)
    except PathRefused:
        raise refused(404, "There is no such page.") from None
    if not place.is_file():
        raise refused(404, "There is no such page.")
    kind = TYPES.get(place.suffix) or mimetypes.guess_type(place.name)[0] or "application/octet-stream"
    caching = FOREVER if path.startswith("assets/") else "no-cache"
    return web.FileResponse(place, headers={"Content-Type": kind, "Cache-Control": caching})
