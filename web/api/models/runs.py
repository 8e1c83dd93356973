"""Messages about runs and their results."""

from typing import Annotated

from pydantic import Field

from graph_runtime.events import AnyEvent
from graph_runtime.queue import Run
from graph_runtime.workflow import Workflow
from web.api.models.base import MAX_NUMBER, Message


class RunRequest(Message):
    """A run to queue."""

    document: Workflow
    targets: list[str] = []  # noqa: RUF012 - pydantic copies it
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")] = "auto"


class RunList(Message):
    """Runs: the running, then the queue in order, then the history, newest first."""

    runs: list[Run]


class RunDetails(Message):
    """A run with its document."""

    run: Run
    document: Workflow


class ComparableRun(Message):
    """A run whose curves can be compared with another's."""

    run: str
    workflow: str
    created: float
    differs: list[str]
    """Fields with another value, as `learning_rate 0.001`."""


class ComparableRuns(Message):
    """Runs with curves, newest first."""

    runs: list[ComparableRun]


class MoveRequest(Message):
    """The wanted place in the queue, counted from 0."""

    position: Annotated[int, Field(ge=0, le=MAX_NUMBER)]


class EventList(Message):
    """Events of a run, in order."""

    events: list[AnyEvent]


class ArtifactEntry(Message):
    """A finished file of a run."""

    run: str
    workflow: str
    node: str
    name: str
    url: str
    bytes: int
    sha256: str
    made: float


class ArtifactList(Message):
    """Finished files, newest first."""

    artifacts: list[ArtifactEntry]
