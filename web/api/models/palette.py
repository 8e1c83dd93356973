"""Messages about the session and the palette."""

from typing import Any

from graph_runtime.errors import Problem
from web.api.models.base import Message


class Session(Message):
    """The session, which a page requests first."""

    token: str
    """Sent with every request that changes something, as the header X-Latentloom-Token."""
    version: str
    workspace: str
    """The name of the workspace folder."""
    devices: list[str]
    picture_suffixes: list[str]
    """Suffixes of pictures, such as `.png`, that can be uploaded and trained on."""
    text_suffixes: list[str]
    """Suffixes of text files that can be uploaded beside them."""
    workflow_suffixes: list[str]
    """Suffixes of files that may contain a workflow: workflow files and artifacts."""
    output_folder: str
    """The folder of finished files, as in their paths."""
    output: str | None
    """The same as a path in the workspace; null when it is outside."""


class InputSocket(Message):
    """An input for wires."""

    name: str
    type: str
    accepts: list[str]
    """The names of all output types that it accepts."""
    many: bool
    required: bool


class FieldSocket(Message):
    """A field as an input for a wire."""

    name: str
    type: str
    accepts: list[str]
    refuses: str
    """The reason why it takes no wire; empty when it does."""


class OutputSocket(Message):
    """An output for wires."""

    name: str
    type: str


class NodeDescription(Message):
    """A node class in the palette."""

    name: str
    title: str
    category: str
    package: str
    version: int
    schema_version: int
    """The version of the class's names, stored with its nodes in documents."""
    description: str
    synonyms: list[str]
    side_effects: bool
    one_of: list[list[str]]
    """Groups of optional inputs; at least one of each must be wired."""
    inputs: list[InputSocket]
    field_sockets: list[FieldSocket]
    outputs: list[OutputSocket]
    fields: dict[str, Any]
    """The JSON Schema of the fields; `group` folds a field under that heading, `widget` names an editor."""


class PaletteReply(Message):
    """All nodes, and the packages that did not load."""

    nodes: list[NodeDescription]
    problems: list[Problem]
    widgets: list[str] = []  # noqa: RUF012 - pydantic copies it
    """The names of packages' widgets; each is a module at `/api/widgets/NAME`."""
