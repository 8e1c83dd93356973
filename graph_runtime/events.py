"""The events of a run: one typed union for the command line, the server, the browser and the stored log."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

NodeState = Literal["executed", "cached", "failed", "skipped"]
RunStatus = Literal["succeeded", "failed", "interrupted"]


class Event(BaseModel):
    """Something that happened; `seq` counts from 0 within its run."""

    seq: int = 0


class RunStarted(Event):
    """The run begins; `nodes` are all that its targets need, in order."""

    type: Literal["run_started"] = "run_started"
    run: str
    workflow: str
    targets: list[str]
    nodes: list[str]


class NodeStarted(Event):
    """A node begins to execute."""

    type: Literal["node_started"] = "node_started"
    node: str
    node_type: str


class NodeProgress(Event):
    """`step` of `total` is done; only the newest of a burst is sent."""

    type: Literal["node_progress"] = "node_progress"
    node: str
    step: int
    total: int


class NodeMetric(Event):
    """Numbers that belong to a step, such as the loss."""

    type: Literal["node_metric"] = "node_metric"
    node: str
    step: int
    values: dict[str, float]
    earlier: bool = False
    """True when an earlier run made the step."""


class NodePreview(Event):
    """A picture that belongs to a step; `path` is relative to the run folder."""

    type: Literal["node_preview"] = "node_preview"
    node: str
    step: int
    path: str
    earlier: bool = False
    """True when an earlier run made the step."""


class NodeMessage(Event):
    """A message of a node that goes on."""

    type: Literal["node_message"] = "node_message"
    node: str
    level: Literal["info", "warning"]
    text: str


class NodeFinished(Event):
    """A node has its result, by executing or from the cache."""

    type: Literal["node_finished"] = "node_finished"
    node: str
    state: Literal["executed", "cached"]
    seconds: float


class NodeFailed(Event):
    """A node stopped with an error; what depends on it is skipped."""

    type: Literal["node_failed"] = "node_failed"
    node: str
    field: str
    message: str
    remedy: str


class PublishedArtifact(BaseModel):
    """A finished file in the output folder."""

    model_config = ConfigDict(frozen=True)
    path: str
    sha256: str
    bytes: int
    node: str
    caption: str = ""
    """A few words on what a picture shows."""
    group: str = ""
    """Pictures of the same group are meant to be compared."""


class NodeOutcome(BaseModel):
    """A node's final state, its duration in seconds, and the reason why it was skipped, such as `latents is muted`."""

    model_config = ConfigDict(frozen=True)
    state: NodeState
    seconds: float = 0.0
    reason: str = ""


class RunFinished(Event):
    """The run is over; always the last event."""

    type: Literal["run_finished"] = "run_finished"
    status: RunStatus
    nodes: dict[str, NodeOutcome]
    artifacts: list[PublishedArtifact]

    def not_run(self) -> dict[str, str]:
        """Return the requested nodes that did not run, each with the reason."""
        return {id: outcome.reason for id, outcome in self.nodes.items() if outcome.reason}


AnyEvent = Annotated[
    RunStarted | NodeStarted | NodeProgress | NodeMetric | NodePreview | NodeMessage | NodeFinished | NodeFailed | RunFinished,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
"""Reads an event back from its JSON."""
