"""Messages about workflows, drafts and plans."""

from typing import Any, Literal

from graph_runtime.errors import Problem
from graph_runtime.workflow import Workflow
from web.api.models.base import Message


class WorkflowSummary(Message):
    """A saved workflow or a template in a list."""

    path: str
    """The name of the file below `workflows/` in the workspace, or of the template."""
    name: str
    description: str
    modified: float
    nodes: int
    picture: str
    """The address of a picture; empty without one."""


class WorkflowList(Message):
    """Saved workflows, or templates."""

    workflows: list[WorkflowSummary]


class SavedWorkflow(Message):
    """A document with the revision it was read at."""

    document: Workflow
    revision: str


class SaveRequest(Message):
    """A document to write if the file still has this revision; null: only if there is no file yet."""

    document: Workflow
    revision: str | None


class Saved(Message):
    """The revision after writing."""

    path: str
    revision: str


class Draft(Message):
    """The state of an editor tab."""

    document: Workflow
    path: str
    """The path of the tab's saved workflow; empty when it was never saved."""
    saved_revision: str
    dirty: bool
    run: str = ""
    """The run that the tab shows; empty before its first."""


class SavedDraft(Message):
    """A draft with its revision."""

    id: str
    draft: Draft
    revision: str
    modified: float


class DraftList(Message):
    """All drafts, oldest first."""

    drafts: list[SavedDraft]


class DraftRequest(Message):
    """A draft to write if the stored one still has this revision; null: only if there is none."""

    draft: Draft
    revision: str | None


class ValidateRequest(Message):
    """A document to be checked."""

    document: Any


class OpenReply(Message):
    """A document migrated to this release, or the problems that prevent this."""

    document: Workflow | None
    problems: list[Problem]


class PlanRequest(Message):
    """A document and the target nodes; without any, those that save something."""

    document: Workflow
    targets: list[str] = []  # noqa: RUF012 - pydantic copies it


class PlanReply(Message):
    """For each node, whether a run would execute it or use the cache; with problems, `nodes` is empty."""

    targets: list[str]
    nodes: dict[str, Literal["run", "cached", "skipped"]]
    problems: list[Problem]
    warnings: list[Problem] = []  # noqa: RUF012 - pydantic copies it
    """Nodes that do not run, or run without one of their wires, because others are muted or bypassed."""
