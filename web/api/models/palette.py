"""Messages about the session and the palette."""

from typing import Any

from graph_runtime.errors import Problem
from web.api.models.base import Message


class Session(Message):
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
    workflow_suffixes: list[str]
    """Ends of the names of files in which the page can find a workflow: its own, and what artifacts carry."""
    output_folder: str
    """Where finished files lie, as their paths begin."""
    output: str | None
    """The same as a path in the workspace; null when it is outside."""


class InputSocket(Message):
    """Where wires can end."""

    name: str
    type: str
    accepts: list[str]
    """Names of all output types that may be wired to it."""
    many: bool
    required: bool


class FieldSocket(Message):
    """A field as a place where a wire can end."""

    name: str
    type: str
    accepts: list[str]
    refuses: str
    """Why nothing can be wired to it; empty when wires are welcome."""


class OutputSocket(Message):
    """Where wires begin."""

    name: str
    type: str


class NodeDescription(Message):
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


class PaletteReply(Message):
    """All nodes, and the packages that did not load."""

    nodes: list[NodeDescription]
    problems: list[Problem]
    widgets: list[str] = []  # noqa: RUF012 - pydantic copies it
    """Names of the widgets that packages bring; each is a module at `/api/widgets/NAME`."""
