"""What the handlers work with; `server.py` puts it together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from graph_runtime.discovery import Palette
from graph_runtime.supervisor import Supervisor
from web.api.hub import Hub
from web.api.places import STATE, Places
from web.api.planner import Planner
from web.api.stored import StoredFolder
from web.api.thumbnails import Thumbnails


@dataclass(frozen=True)
class Settings:
    """What the person chose at the start."""

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
    """All that outlives a request."""

    settings: Settings
    load_palette: Callable[[], Palette]
    """Costs a tenth of a second at its first call, which is after the first page is on its way."""
    places: Places
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
