"""Field widgets of node packages."""

from aiohttp import web

from web.api.refusal import refused
from web.api.services import Services


async def show_widget(services: Services, request: web.Request) -> web.StreamResponse:
    """Return the module of a widget; only files found in installed packages at the start have a name."""
    place = services.palette.widgets.get(request.match_info["name"])
    if place is None or not place.is_file():
        raise refused(404, "There is no such widget.")
    return web.FileResponse(place, headers={"Content-Type": "text/javascript", "Cache-Control": "no-cache"})
