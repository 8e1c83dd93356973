"""The dependencies of the handlers, composed by `server.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from graph_runtime.discovery import Palette
from graph_runtime.supervisor import Supervisor
from web.api.hub import Hub
from web.api.path_access import STATE, PathAccess
from web.api.planner import Planner
from web.api.stored import StoredFolder
from web.api.thumbnails import Thumbnails


@dataclass(frozen=True)
class Settings:
    """The options chosen at the start."""

    root: Path
    output: Path
    cache: Path
    devices: tuple[str, ...]
    token: str

    @property
    def state(self) -> Path:
        return self.root / STATE


@dataclass(frozen=True)
class Services:
    """State that outlives a request."""

    settings: Settings
    load_palette: Callable[[], Palette]
    """Returns the palette; the first call costs a tenth of a second and comes after the first page has been sent."""
    paths: PathAccess
    planner: Planner
    supervisor: Supervisor
    hub: Hub
    workflows: StoredFolder
    drafts: StoredFolder
    thumbnails: Thumbnails

    @property
    def palette(self) -> Palette:
        return self.load_palette()


SERVICES = web.AppKey("services", Services)
