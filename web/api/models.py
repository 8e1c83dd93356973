"""What the editor and the server say to each other; the TypeScript types are generated from these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from graph_runtime.events import AnyEvent, PublishedArtifact
from graph_runtime.queue import RunState
from graph_runtime.workflow import Workflow

MAX_NUMBER = 2**31 - 1
"""Nothing that is counted here goes so far; beyond, numbers no longer fit where C keeps them."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True)


class ProblemReport(_Message):
    """One thing that is wrong, where it is, and what to do about it."""

    message: str
    node: str
    field: str
    remedy: str


class Problems(_Message):
    """Everything that is wrong; the body of every refusal, and of a validation."""

    problems: list[ProblemReport]


class ValidationReply(_Message):
    """Everything that is wrong with a document, and what it leaves out although nothing is wrong."""

    problems: list[ProblemReport]
    warnings: list[ProblemReport]


class Session(_Message):
    """What a page needs before anything else."""

    token: str
    """Goes with every request that changes something, as the header X-Latentloom-Token."""
    version: str
    workspace: str
    """Name of the workspace folder."""
    devices: list[str]
    picture_suffixes: list[str]
    """Ends of the names of pictures, such as `.png`, that can be uploaded and trained on."""
    text_suffixes: list[str]
    """Ends of the names of texts that can be uploaded beside them."""
    output_folder: str
    """Where finished files lie, as their paths begin."""
    output: str | None
    """The same as a path in the workspace; null when it is outside."""


class InputSocket(_Message):
    """Where wires can end."""

    name: str
    type: str
    accepts: list[str]
    """Names of all output types that may be wired to it."""
    many: bool
    required: bool


class FieldSocket(_Message):
    """A field as a place where a wire can end."""

    name: str
    type: str
    accepts: list[str]
    refuses: str
    """Why nothing can be wired to it; empty when wires are welcome."""


class OutputSocket(_Message):
    """Where wires begin."""

    name: str
    type: str


class NodeDescription(_Message):
    """A node class, as the palette shows it."""

    name: str
    title: str
    category: str
    package: str
    version: int
    schema_version: int
    """What a node of this class stores in documents about the names that it uses."""
    description: str
    synonyms: list[str]
    side_effects: bool
    one_of: list[list[str]]
    """Groups of optional inputs of which one at least must be wired."""
    inputs: list[InputSocket]
    field_sockets: list[FieldSocket]
    outputs: list[OutputSocket]
    fields: dict[str, Any]
    """JSON Schema of the fields; `group` folds a field under that heading, `widget` names an editor."""


class PaletteReply(_Message):
    """All nodes, and the packages that did not load."""

    nodes: list[NodeDescription]
    problems: list[ProblemReport]


class WorkflowSummary(_Message):
    """A saved workflow or a template in a list."""

    path: str
    """Name of the file below `workflows/` in the workspace, or the template's name."""
    name: str
    description: str
    modified: float
    nodes: int
    picture: str
    """Address of a picture to show; empty without one."""


class WorkflowList(_Message):
    """Saved workflows, or templates."""

    workflows: list[WorkflowSummary]


class SavedWorkflow(_Message):
    """A document with the revision it was read at."""

    document: Workflow
    revision: str


class SaveRequest(_Message):
    """Write a document if it still has the revision it was read at; null: only if nothing is there yet."""

    document: Workflow
    revision: str | None


class Saved(_Message):
    """The revision after writing."""

    path: str
    revision: str


class Draft(_Message):
    """An editor tab as it was left."""

    document: Workflow
    path: str
    """The saved workflow that it belongs to; empty when it was never saved."""
    saved_revision: str
    dirty: bool
    run: str = ""
    """The run that the tab shows; empty before its first."""


class SavedDraft(_Message):
    """A draft with its revision."""

    id: str
    draft: Draft
    revision: str
    modified: float


class DraftList(_Message):
    """All drafts, oldest first."""

    drafts: list[SavedDraft]


class DraftRequest(_Message):
    """Write a draft if it still has this revision; null: only if there is none."""

    draft: Draft
    revision: str | None


class ValidateRequest(_Message):
    """A document to be checked."""

    document: Any


class OpenReply(_Message):
    """A document as this release writes it, or why it cannot be opened."""

    document: Workflow | None
    problems: list[ProblemReport]


class PlanRequest(_Message):
    """A document and the nodes that are wanted; without any, those that save something."""

    document: Workflow
    targets: list[str] = []


class PlanReply(_Message):
    """What a run would do with each node; with problems, `nodes` is empty."""

    targets: list[str]
    nodes: dict[str, Literal["run", "cached", "skipped"]]
    problems: list[ProblemReport]
    warnings: list[ProblemReport] = []
    """Nodes that will not run, or run without a wire of theirs, because others are muted or bypassed."""


class RunRequest(_Message):
    """A run to be queued."""

    document: Workflow
    targets: list[str] = []
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")] = "auto"


class RunSummary(_Message):
    """A run in the queue or in the history."""

    id: str
    workflow: str
    """Name of the workflow."""
    targets: list[str]
    device: str
    state: RunState
    position: int | None
    """Place in the queue, counted from 0; null when it is not queued."""
    created: float
    """Seconds since 1970, as all times here."""
    started: float | None
    finished: float | None
    problems: list[ProblemReport]
    """Why it failed, with the nodes that did."""
    artifacts: list[PublishedArtifact]
    not_run: dict[str, str]
    """Nodes that were wanted and did not run, each with the reason."""


class RunList(_Message):
    """Runs: the running, then the queue in order, then the history, newest first."""

    runs: list[RunSummary]


class RunDetails(_Message):
    """A run with the document it runs."""

    run: RunSummary
    document: Workflow


class ComparableRun(_Message):
    """A run whose curves can be laid beside another's."""

    run: str
    workflow: str
    created: float
    differs: list[str]
    """Fields that it sets otherwise, as `learning_rate 0.001`."""


class ComparableRuns(_Message):
    """Runs with curves, newest first."""

    runs: list[ComparableRun]


class MoveRequest(_Message):
    """The wanted place in the queue, counted from 0."""

    position: Annotated[int, Field(ge=0, le=MAX_NUMBER)]


class EventList(_Message):
    """Events of a run, in order."""

    events: list[AnyEvent]


class ArtifactEntry(_Message):
    """A finished file of a run."""

    run: str
    workflow: str
    node: str
    name: str
    url: str
    bytes: int
    sha256: str
    made: float


class ArtifactList(_Message):
    """Finished files, newest first."""

    artifacts: list[ArtifactEntry]


class FileEntry(_Message):
    """A file or folder of the workspace."""

    name: str
    path: str
    kind: Literal["folder", "image", "model", "workflow", "file"]
    bytes: int
    modified: float


class FileList(_Message):
    """What a folder of the workspace holds."""

    path: str
    parent: str | None
    """The folder above; null at the workspace's root."""
    entries: list[FileEntry]
    images: int
    """Number of pictures directly in it."""


class Uploaded(_Message):
    """Where an uploaded file lies now."""

    path: str


class ModelEntry(_Message):
    """A model that LoadModel can open."""

    reference: str
    title: str
    family: str


class ModelList(_Message):
    """The bundled model, then those found in the workspace."""

    models: list[ModelEntry]


class DatasetItem(_Message):
    """A picture of a dataset with its caption."""

    name: str
    """Path below the dataset's folder."""
    path: str
    """Path in the workspace, for /api/files/content."""
    width: int
    height: int
    caption: str | None
    """Null when the picture has none."""
    bucket: str
    """Size it is trained at, as `WIDTHxHEIGHT`; empty when the picture cannot be read."""
    repeats: int
    """How often it counts, as its folder's name says."""
    problem: str
    """What is wrong with the picture or its caption; empty when it is fine."""


class Dataset(_Message):
    """The pictures of a folder."""

    folder: str
    items: list[DatasetItem]
    notes: list[str]
    """What a person should know of how it was read: what is left out, repeated or guessed."""


class CaptionsRequest(_Message):
    """New captions by picture name; each is written to the file beside its picture, `.txt` where there is none."""

    folder: str
    captions: dict[str, str]
    seen: dict[str, str | None]
    """The captions as they were read, by picture name; one that has changed since then is not written over."""


class DeviceStatus(_Message):
    """How busy the machine is."""

    device: str
    cpu_percent: float
    memory_used: int
    """Bytes, as all sizes here."""
    memory_total: int
    worker_memory: int
    gpu_used: int
    gpu_total: int
    """0 without a GPU."""


class RunEvent(_Message):
    """On the socket: something happened in a run."""

    type: Literal["event"] = "event"
    run: str
    event: AnyEvent


class RunChanged(_Message):
    """On the socket: a run was queued, moved, started, ended, or changed in another way."""

    type: Literal["run"] = "run"
    run: RunSummary


class RunRemoved(_Message):
    """On the socket: a run left the history."""

    type: Literal["removed"] = "removed"
    run: str


class DeviceChanged(_Message):
    """On the socket: how busy the machine is now, every few seconds."""

    type: Literal["device"] = "device"
    device: DeviceStatus


class FileChanged(_Message):
    """On the socket: a saved workflow or a draft has a new revision."""

    type: Literal["workflow", "draft"]
    path: str
    revision: str


ServerMessage = Annotated[RunEvent | RunChanged | RunRemoved | DeviceChanged | FileChanged, Field(discriminator="type")]


class Follow(_Message):
    """What the page sends on the socket: send me this run's events after `seq` (-1: all), and those to come."""

    follow: Annotated[str, Field(max_length=64)]
    after: Annotated[int, Field(le=MAX_NUMBER)] = -1
