"""Messages about workflows, drafts and plans."""

from typing import Any, Literal

from graph_runtime.errors import Problem
from graph_runtime.workflow import Workflow
from web.api.models.base import Message


class WorkflowSummary(Message):
    """A saved workflow or a template in a list."""

    path: str
    """Name of the file below `workflows/` in the workspace, or the template's name."""
    name: str
    description: str
    modified: float
    nodes: int
    picture: str
    """Address of a picture to show; empty without one."""


class WorkflowList(Message):
    """Saved workflows, or templates."""

    workflows: list[WorkflowSummary]


class SavedWorkflow(Message):
    """A document with the revision it was read at."""

    document: Workflow
    revision: str


class SaveRequest(Message):
    """Write a document if it still has the revision it was read at; null: only if nothing is there yet."""

    document: Workflow
    revision: str | None


class Saved(Message):
    """The revision after writing."""

    path: str
    revision: str


class Draft(Message):
    """An editor tab as it was left."""

    document: Workflow
    path: str
    """The saved workflow that it belongs to; empty when it was never saved."""
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
    """Write a draft if it still has this revision; null: only if there is none."""

    draft: Draft
    revision: str | None


class ValidateRequest(Message):
    """A document to be checked."""

    document: Any


class OpenReply(Message):
    """A document as this release writes it, or why it cannot be opened."""

    document: Workflow | None
    problems: list[Problem]


class PlanRequest(Message):
    """A document and the nodes that are wanted; without any, those that save something."""

    document: Workflow
    targets: list[str] = []  # noqa: RUF012 - pydantic copies it


class PlanReply(Message):
    """What a run would do with each node; with problems, `nodes` is empty."""

    targets: list[str]
    nodes: dict[str, Literal["run", "cached", "skipped"]]
    problems: list[Problem]
    warnings: list[Problem] = []  # noqa: RUF012 - pydantic copies it
    """Nodes that will not run, or run without a wire of theirs, because others are muted or bypassed."""
