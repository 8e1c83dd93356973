"""The session, which a page requests first."""

from importlib.metadata import version

from aiohttp import web

from nodes.diffusion.formats.file_formats import FORMATS
from nodes.diffusion.pictures.picture_kinds import readable_suffixes
from web.api.models import Session
from web.api.services import Services
from web.api.uploads import TEXTS


async def show_session(services: Services, request: web.Request) -> Session:
    """Return the token for changes, which no page of another origin can read."""
    settings = services.settings
    return Session(
        token=settings.token,
        version=version("latentloom"),
        workspace=settings.root.name,
        devices=["auto", *settings.devices],
        picture_suffixes=sorted(readable_suffixes()),
        text_suffixes=sorted(TEXTS),
        workflow_suffixes=[".json", ".png", *(suffix for suffix, kind in FORMATS.items() if kind.is_safetensors)],
        output_folder=str(settings.output),
        output=settings.output.relative_to(settings.root).as_posix() if settings.output.is_relative_to(settings.root) else None,
    )
