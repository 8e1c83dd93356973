"""Document and palette to an executable graph: order, upstream, cache keys."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from graph_runtime.errors import Problem, WorkflowError, readable
from graph_runtime.node import Json, Node, NodeType, OutsideFiles, accepts
from graph_runtime.workflow import Workflow

if TYPE_CHECKING:
    import networkx as nx

KEY_FORMAT = 1


class Source(NamedTuple):
    """Where a value comes from: an output of a node."""

    node: str
    output: str


@dataclass
class Step:
    """One node of the graph, ready to run once its inputs are there."""

    id: str
    type: NodeType
    fields: dict[str, Any]
    """Field values from the document, those that arrive on wires left out."""
    inputs: dict[str, list[Source]] = field(default_factory=dict[str, list[Source]])
    node: Node | None = None
    """The node; None when a field arrives on a wire, so that it can only be made when it runs."""
    fingerprint: Json = None
    key: str = ""
    stem: str = ""
    """The key without what the node `continues`; empty when there is nothing of the kind."""

    def make_node(self, wired: Mapping[str, Any]) -> Node:
        """Return the node, its wired fields filled in."""
        return self.node or self.type.cls.model_validate({**self.fields, **wired})


@dataclass
class Graph:
    """Steps in topological order, muted ones left out and bypassed ones wired through."""

    workflow: Workflow
    steps: dict[str, Step]

    def default_targets(self) -> list[str]:
        """Return the nodes that save or show something; without any, the nodes that nothing depends on."""
        saving = [step.id for step in self.steps.values() if step.type.cls.side_effects]
        needed = {source.node for step in self.steps.values() for sources in step.inputs.values() for source in sources}
        return saving or [id for id in self.steps if id not in needed]

    def with_upstream(self, targets: list[str]) -> list[str]:
        """Return the targets and all that they depend on, in topological order."""
        needed, open_ = set(targets), list(targets)
        while open_:
            for sources in self.steps[open_.pop()].inputs.values():
                fresh = {source.node for source in sources} - needed
                needed |= fresh
                open_ += fresh
        return [id for id in self.steps if id in needed]


def build_graph(workflow: Workflow, palette: Mapping[str, NodeType]) -> Graph:
    """Return the graph of a workflow that has passed validation."""
    steps = {
        id: Step(id, palette[entry.type], dict(entry.fields)) for id, entry in workflow.nodes.items() if entry.mode != "muted"
    }
    for wire in workflow.wires:
        (source, output), (target, name) = wire.source.split("."), wire.target.split(".")
        if target in steps:
            steps[target].inputs.setdefault(name, []).append(Source(source, output))
    modes = {entry.mode for entry in workflow.nodes.values()}
    if "bypassed" in modes:
        _bypass(workflow, steps)
    if modes != {"active"}:
        _drop_muted(steps)
    for step in steps.values():
        if not any(step.type.inputs[name].is_field for name in step.inputs):
            step.node = step.type.cls.model_validate(step.fields)
    return Graph(workflow, {id: steps[id] for id in _ordered(steps)})


def dependencies(workflow: Workflow) -> "nx.DiGraph[str]":
    """Return the directed graph of node ids."""
    import networkx as nx  # costs 0.15 s, which a server that has nothing to run yet need not wait for

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(workflow.nodes)
    graph.add_edges_from((wire.source.split(".")[0], wire.target.split(".")[0]) for wire in workflow.wires)
    return graph


def _ordered(steps: Mapping[str, Step]) -> list[str]:
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(steps)
    graph.add_edges_from(
        (source.node, step.id) for step in steps.values() for sources in step.inputs.values() for source in sources
    )
    return list(nx.topological_sort(graph))


def _bypass(workflow: Workflow, steps: dict[str, Step]) -> None:
    """Replace every source that is a bypassed node's output by that node's first input of a fitting type."""
    bypassed = {id for id, entry in workflow.nodes.items() if entry.mode == "bypassed"}
    passes = {id: _passed(steps[id]) for id in bypassed}
    for step in steps.values():
        for name, sources in step.inputs.items():
            step.inputs[name] = [found for source in sources if (found := _followed(source, passes))]
    for id in bypassed:
        del steps[id]


def _passed(step: Step) -> dict[str, Source | None]:
    candidates = [(step.type.inputs[name].type, sources[0]) for name, sources in step.inputs.items() if sources]
    return {
        output: next((source for type_, source in candidates if accepts(type_, kind)), None)
        for output, kind in step.type.outputs.items()
    }


def _followed(source: Source, passes: Mapping[str, Mapping[str, Source | None]]) -> Source | None:
    while source.node in passes:
        beyond = passes[source.node].get(source.output)
        if beyond is None:
            return None
        source = beyond
    return source


def _drop_muted(steps: dict[str, Step]) -> None:
    """Remove wires from muted nodes, and the nodes that cannot run without them."""
    while True:
        for step in steps.values():
            for name, sources in step.inputs.items():
                step.inputs[name] = [source for source in sources if source.node in steps]
        broken = [step.id for step in steps.values() if any(not step.inputs.get(n) for n in _required(step.type))]
        if not broken:
            break
        for id in broken:
            del steps[id]
    for step in steps.values():
        step.inputs = {name: sources for name, sources in step.inputs.items() if sources}


def _required(node_type: NodeType) -> list[str]:
    return [socket.name for socket in node_type.inputs.values() if socket.required]


def compute_keys(graph: Graph, files: OutsideFiles, carried: Mapping[str, Any]) -> None:
    """Fill in every step's fingerprint and key; `carried` is what saved files carry, the document and the versions.

    Raises WorkflowError naming all outside files that cannot be read.
    """
    problems: list[Problem] = []
    document = digest_json(carried)
    for step in graph.steps.values():
        try:
            step.fingerprint = step.node.fingerprint(files) if step.node else None
        except (OSError, ValueError) as error:
            problems.append(problem_of(error, step))
        step.key = _digest(_identity(step, graph, document))
        if continued := step.type.cls.continues:
            step.stem = _digest(_identity(step, graph, document, without=continued))
    if problems:
        raise WorkflowError(*problems)


def _identity(step: Step, graph: Graph, document: str, without: frozenset[str] = frozenset()) -> str:
    """Return everything that a result depends on, as one text; control characters separate what could run together.

    What some fields say, or what arrives at them, is left out if asked for.
    """
    if step.node:
        fields = step.node.model_dump_json(exclude=step.type.not_in_key | without)
    else:
        fields = _canonical({name: value for name, value in step.fields.items() if name not in without})
    parts = [f"{KEY_FORMAT} {step.type.identity} {step.type.cls.version}", fields, _canonical(step.fingerprint)]
    for name in sorted(step.inputs.keys() - without):
        parts += (f"{name} {graph.steps[source.node].key} {source.output}" for source in step.inputs[name])
    if step.type.cls.side_effects:
        parts.append(document)
    return "\x1f".join(parts)


def _canonical(value: Any) -> str:
    return "null" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest_json(value: Any) -> str:
    """Return the sha256 of a JSON value, however its objects are ordered."""
    return _digest(_canonical(value))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def problem_of(error: BaseException, step: Step) -> Problem:
    """Return what a person should read about an error inside a node."""
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False)[0]
        return Problem(readable(details), node=step.id, field=".".join(map(str, details["loc"])))
    field = getattr(error, "field", "") or (next(iter(step.type.path_fields), "") if hasattr(error, "remedy") else "")
    return Problem(str(error), node=step.id, field=field, remedy=getattr(error, "remedy", ""))
