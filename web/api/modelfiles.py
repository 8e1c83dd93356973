"""The models that LoadModel can open."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.models.load_model import BUNDLED
from web.api.models import ModelEntry, ModelList
from web.api.path_access import PathAccess, as_text
from web.api.services import Services

MAX_DEPTH = 5


async def list_models(services: Services, request: web.Request) -> ModelList:
    """Return the bundled model, then those found in the workspace."""
    return await asyncio.to_thread(_listed, services.paths)


def _listed(paths: PathAccess) -> ModelList:
    bundled = [ModelEntry(reference=name, title=name, family=_family(folder)) for name, folder in BUNDLED.items()]
    found = [(paths.relative(folder), folder.name, _family(folder)) for folder in _model_folders(paths)]
    entries = [ModelEntry(reference=path, title=name, family=family) for path, name, family in found if family]
    return ModelList(models=bundled + entries)


def _model_folders(paths: PathAccess) -> Iterator[Path]:
    """Yield diffusers folders; links are not followed, so that none leads out of the workspace."""
    for name, folders, files in os.walk(paths.root):
        folder = Path(name)
        if "model_index.json" in files:
            yield folder
            folders.clear()
        depth = len(folder.relative_to(paths.root).parts)
        folders[:] = sorted(filter(_is_looked_into, folders)) if depth < MAX_DEPTH else []


def _is_looked_into(name: str) -> bool:
    return not name.startswith((".", "node_modules")) and name == as_text(name)


def _family(folder: Path) -> str:
    """Return the family; empty for a folder that LoadModel would refuse."""
    try:
        return inspect_folder(folder).family
    except (InputError, OSError):
        return ""
