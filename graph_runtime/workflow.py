"""The saved JSON document and its migrations; everything is referred to by name, nothing by position."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails, to_json

from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.files import write_atomic
from graph_runtime.wording import readable

FORMAT = "latentloom/1"
MAX_BYTES = 20 * 2**20
MAX_PARTS = 100_000
"""Most nodes, wires, groups and notes of a document, before or after its subgraphs are expanded."""
PARTS = ("nodes", "wires", "groups", "notes", "inputs", "outputs")

NodeId = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
SocketName = Annotated[str, Field(pattern=r"^\w{1,64}$")]
End = Annotated[str, Field(pattern=r"^[\w-]{1,64}\.\w{1,64}$")]
Point = tuple[float, float]

MIGRATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""For each earlier format, the function that turns such a document into the next one."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True)


class NodeEntry(_Part):
    """One node of a graph."""

    type: str
    """The class name of the node."""
    schema_version: Annotated[int, Field(ge=1)] = 1
    """The version of the class's names that its fields and wires use; raised with each of the class's migrations."""
    fields: dict[str, JsonValue] = {}
    mode: Literal["active", "muted", "bypassed"] = "active"
    """`muted` does not run, nor do nodes that need it; `bypassed` returns its inputs unchanged."""
    title: str = ""
    position: Point | None = None
    size: Point | None = None
    color: str = ""
    collapsed: bool = False


class Wire(_Part):
    """A connection from `ID.output` to `ID.input`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    source: Annotated[str, Field(alias="from", pattern=r"^[\w-]{1,64}\.\w{1,64}$")]
    target: Annotated[str, Field(alias="to", pattern=r"^[\w-]{1,64}\.\w{1,64}$")]
    via: Annotated[list[Point], FailFast()] = []
    """Points at which it bends."""


class Group(_Part):
    """A titled frame around nodes."""

    title: str = ""
    nodes: Annotated[list[NodeId], FailFast()] = []
    position: Point | None = None
    size: Point | None = None
    color: str = ""


class Note(_Part):
    """Markdown beside the graph."""

    text: str
    position: Point | None = None
    size: Point | None = None
    color: str = ""


class Subgraph(_Part):
    """A graph that is used as one node, of type `Subgraph` with the id in its field `subgraph`; stored in the document."""

    name: str = ""
    nodes: dict[NodeId, NodeEntry] = {}
    wires: list[Wire] = []
    inputs: dict[SocketName, End] = {}
    """The inner `ID.input` by outer input name."""
    outputs: dict[SocketName, End] = {}
    """The inner `ID.output` by outer output name."""
    groups: list[Group] = []
    notes: list[Note] = []


class Workflow(_Part):
    """A graph of nodes as it is saved, shared and run."""

    format: Literal["latentloom/1"] = FORMAT
    name: str = "workflow"
    description: str = ""
    nodes: dict[NodeId, NodeEntry] = {}
    wires: list[Wire] = []
    groups: list[Group] = []
    notes: list[Note] = []
    subgraphs: dict[NodeId, Subgraph] = {}

    @model_validator(mode="before")
    @classmethod
    def _is_small(cls, document: object) -> Any:
        """Refuse a document with too many parts before each of them is checked."""
        if (count := _parts(document)) > MAX_PARTS:
            raise ValueError(f"the document has {count} nodes, wires, groups and notes; at most {MAX_PARTS} are taken")
        return document

    def to_json(self) -> dict[str, Any]:
        """Return the document as saved JSON, without default values."""
        document = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"format": self.format, "name": self.name, "nodes": {}, **document}


def _parts(document: object) -> int:
    """Return the number of parts of a document of any form."""
    subgraphs = document.get("subgraphs") if isinstance(document, dict) else None
    inner = list(subgraphs.values()) if isinstance(subgraphs, dict) else []
    graphs = [graph for graph in (document, *inner) if isinstance(graph, dict)]
    counted = [part for graph in graphs for name in PARTS if isinstance(part := graph.get(name), list | dict)]
    return len(inner) + sum(map(len, counted))


def read_workflow(path: Path) -> Workflow:
    """Read a workflow file; raise WorkflowError naming every problem of the document's form."""
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise WorkflowError(Problem(f"{path} cannot be read: {error.strerror}.")) from None
    if size > MAX_BYTES:
        raise WorkflowError(Problem(f"{path} has {size / 2**20:.0f} MiB; a workflow has at most {MAX_BYTES // 2**20} MiB."))
    return parse_workflow(content, str(path))


def parse_workflow(content: bytes, name: str = "workflow") -> Workflow:
    """Read a document of this format or an earlier one from JSON text, in UTF-8 or the encoding of its byte-order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()
    return workflow_from_json(parse_json(content.removeprefix(codecs.BOM_UTF8), name), name)


def parse_json(content: bytes, name: str) -> Any:
    """Parse JSON text in strict UTF-8; raise WorkflowError with the fault."""
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
        if b"\\ud" in content.lower():
            json.dumps(document, ensure_ascii=False).encode("utf-8")  # fails for half a surrogate pair
    except RecursionError:
        raise WorkflowError(Problem(f"{name} is nested too deeply to be a workflow.")) from None
    except ValueError as error:
        raise WorkflowError(Problem(f"{name} is not valid JSON: {str(error)[:200]}.")) from None
    return document


def workflow_from_json(document: object, name: str = "workflow") -> Workflow:
    """Check a parsed document; raise WorkflowError naming every problem of its form."""
    if not isinstance(document, dict) or "format" not in document:
        remedy = f'It must be an object with "format": "{FORMAT}", "nodes" and "wires".'
        raise WorkflowError(Problem(f"{name} is not a Latent Loom workflow.", remedy=remedy))
    try:
        return Workflow.model_validate(_migrated(document, name))
    except ValidationError as error:
        raise WorkflowError(*(_form_problem(details) for details in error.errors(include_url=False))) from None
    except RecursionError:
        raise WorkflowError(Problem(f"{name} is nested too deeply to be a workflow.")) from None


def _migrated(document: dict[str, Any], name: str) -> dict[str, Any]:
    while isinstance(document["format"], str) and document["format"] in MIGRATIONS:
        document = MIGRATIONS[document["format"]](document)
    if document["format"] != FORMAT:
        found = str(document["format"])[:40]
        remedy = "Update the program if the file is newer than it."
        raise WorkflowError(Problem(f"{name} has format {found!r}; this program reads {FORMAT!r}.", remedy=remedy))
    return document


def _form_problem(details: ErrorDetails) -> Problem:
    place = [str(part) for part in details["loc"] if part != "[key]"]  # pydantic's mark for a key, after the key itself
    node = place[1] if len(place) > 1 and place[0] == "nodes" else ""
    field = ".".join(place[2:] if node else place)
    return Problem(readable(details), node=node[:64], field=field[:120])


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON allows")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the name {twice[:60]!r} appears twice in one object")
    return result


def save_workflow(workflow: Workflow, path: Path) -> None:
    """Write the document atomically."""
    write_atomic(path, workflow_bytes(workflow))


def workflow_bytes(workflow: Workflow) -> bytes:
    """Return the document as the bytes of a file."""
    return to_json(workflow.to_json(), indent=2) + b"\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the document, as published in `workflow.schema.json`."""
    schema = Workflow.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "required": ["format", "nodes"]}
