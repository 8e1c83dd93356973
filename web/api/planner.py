"""Validation and planning in one thread beside the event loop, which holds an open cache."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from graph_runtime.cache import Cache
from graph_runtime.discovery import Palette
from graph_runtime.errors import DamagedCache, Problem, WorkflowError
from graph_runtime.migrate import migrated
from graph_runtime.session import cache_limit, prepare
from graph_runtime.validation import validate, warnings
from graph_runtime.workflow import Workflow, workflow_from_json
from graph_runtime.workspace import Workspace
from web.api.models import PlanReply, ValidationReply

Result = TypeVar("Result")
IDLE_SECONDS = 60.0
"""Seconds until an unused cache is closed; while open, it keeps its entries from being evicted."""


class Planner:
    """One thread that validates and plans for the workspace at `root`."""

    def __init__(self, root: Path, cache: Path, load_palette: Callable[[], Palette]) -> None:
        self._root = root
        self._load_palette = load_palette
        self._folder = cache
        self._cache: Cache | None = None
        self._used = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="planner")

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self._root, packages=self._load_palette().folders)

    async def problems(self, document: object) -> list[Problem]:
        """Return every problem of a document of any form."""
        return await asyncio.to_thread(self._problems, document)

    async def check(self, document: object) -> ValidationReply:
        """Return every problem of a document of any form, or the warnings of a valid one."""
        return await asyncio.to_thread(self._checked, document)

    async def plan(self, workflow: Workflow, targets: list[str]) -> PlanReply:
        """Return for each node whether a run would execute it or use the cache."""
        return await self._in_thread(lambda: self._planned(workflow, targets))

    async def close_when_idle(self) -> None:
        """Close the cache whenever it has been unused for a while, until cancelled."""
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            if time.monotonic() - self._used > IDLE_SECONDS:
                await self._in_thread(self._close)

    async def close(self) -> None:
        """Close the cache and end the thread."""
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def open(self, document: object) -> Workflow:
        """Return a document migrated to this release; raise WorkflowError naming every problem of its form."""
        return await asyncio.to_thread(self._opened, document)

    def _opened(self, document: object) -> Workflow:
        return migrated(workflow_from_json(document), self._load_palette().types)

    def _problems(self, document: object) -> list[Problem]:
        try:
            return validate(self._opened(document), self._load_palette(), self._workspace)
        except WorkflowError as error:
            return list(error.problems)

    def _checked(self, document: object) -> ValidationReply:
        try:
            workflow = self._opened(document)
        except WorkflowError as error:
            return ValidationReply(problems=list(error.problems), warnings=[])
        problems = validate(workflow, self._load_palette(), self._workspace)
        left_out = [] if problems else warnings(workflow, self._load_palette())
        return ValidationReply(problems=problems, warnings=left_out)

    def _planned(self, workflow: Workflow, targets: list[str]) -> PlanReply:
        try:
            cache = self._open_cache()
            prepared = prepare(workflow, self._load_palette(), self._workspace, cache, targets)
            plan = prepared.plan(cache)
            cache.flush()
        except WorkflowError as error:
            return PlanReply(targets=targets, nodes={}, problems=list(error.problems))
        except DamagedCache as error:
            return PlanReply(targets=targets, nodes={}, problems=[Problem(str(error))])
        to_run, needed = set(plan.to_run), set(plan.needed)
        states = {id: "run" if id in to_run else "cached" if id in needed else "skipped" for id in prepared.graph.workflow.nodes}
        left_out = list(prepared.graph.left_out.warnings())
        content = {"targets": prepared.targets, "nodes": states, "problems": [], "warnings": left_out}
        return PlanReply.model_validate(content)

    def _open_cache(self) -> Cache:
        self._used = time.monotonic()
        self._cache = self._cache or Cache(self._folder, cache_limit())
        return self._cache

    def _close(self) -> None:
        if self._cache:
            self._cache.close()
        self._cache = None
