"""An executable graph from document and palette: order, upstream, cache keys."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.modes import LeftOut, apply_modes
from graph_runtime.node import NodeType, OutsideFiles
from graph_runtime.steps import Source, Step, ordered
from graph_runtime.wording import readable
from graph_runtime.workflow import Workflow

if TYPE_CHECKING:
    import networkx as nx

KEY_FORMAT = 1


@dataclass
class Graph:
    """Steps in topological order, muted ones left out and bypassed ones wired through."""

    workflow: Workflow
    steps: dict[str, Step]
    left_out: LeftOut = field(default_factory=LeftOut)

    def default_targets(self) -> list[str]:
        """Return the nodes with side effects; without any, the nodes that nothing depends on."""
        saving = [step.id for step in self.steps.values() if step.type.cls.side_effects]
        needed = {source.node for step in self.steps.values() for sources in step.inputs.values() for source in sources}
        return saving or [id for id in self.steps if id not in needed]

    def with_upstream(self, targets: list[str]) -> list[str]:
        """Return the targets and everything upstream, in topological order."""
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
    left_out = apply_modes(workflow, steps, palette)
    _make_nodes(steps)
    return Graph(workflow, {step.id: step for step in ordered(steps)}, left_out)


def _make_nodes(steps: Mapping[str, Step]) -> None:
    """Make every node whose fields are all set; raise WorkflowError naming those that are invalid without a muted input."""
    problems: list[Problem] = []
    for step in steps.values():
        if not any(step.type.inputs[name].is_field for name in step.inputs):
            try:
                step.node = step.type.cls.model_validate(step.fields)
            except ValidationError as error:
                problems.append(problem_of(error, step))
    if problems:
        raise WorkflowError(*problems)


def dependencies(workflow: Workflow) -> "nx.DiGraph[str]":
    """Return the directed graph of node ids."""
    import networkx as nx  # costs 0.15 s, which the start of the server need not wait for

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(workflow.nodes)
    graph.add_edges_from((wire.source.split(".")[0], wire.target.split(".")[0]) for wire in workflow.wires)
    return graph


def compute_keys(graph: Graph, files: OutsideFiles, carried: Mapping[str, Any]) -> None:
    """Fill in every step's fingerprint, warnings and key; `carried` is the metadata of saved files (document, versions).

    Raises WorkflowError naming all outside files that cannot be read, and all nodes that what is known of their inputs refuses.
    """
    problems: list[Problem] = []
    document = digest_json(carried)
    for step in graph.steps.values():
        try:
            step.fingerprint = step.node.fingerprint(files) if step.node else None
            _know(step, graph, files)
        except (OSError, ValueError) as error:
            problems.append(problem_of(error, step))
        step.warnings, files.warnings = files.warnings, []
        step.key = _digest(_identity(step, graph, document))
        if continued := step.type.cls.continues:
            step.stem = _digest(_identity(step, graph, document, without=continued))
    if problems:
        raise WorkflowError(*problems)


def _know(step: Step, graph: Graph, files: OutsideFiles) -> None:
    """Fill in what is known of a step's output; let its node check what is known of the inputs."""
    arriving = {name: [graph.steps[source.node].known for source in sources] for name, sources in step.inputs.items()}
    found = {name: [known for known in each if known] for name, each in arriving.items()}
    kinds = set(step.type.outputs.values())
    alike = (each for name, known in found.items() if step.type.inputs[name].type in kinds for each in known)
    step.known = step.node.known(files) if step.node else None
    if step.known is None:
        step.known = next(alike, None)
    if step.node:
        step.node.check_known(found)


def _identity(step: Step, graph: Graph, document: str, without: frozenset[str] = frozenset()) -> str:
    """Return everything that a result depends on, as one text with control characters as separators.

    The values of the fields and inputs in `without` are left out.
    """
    if step.node:
        fields = step.node.model_dump_json(exclude=step.type.not_in_key | step.type.unchanged_fields(step.node) | without)
    else:
        fields = _canonical({name: value for name, value in step.fields.items() if name not in without})
    parts = [f"{KEY_FORMAT} {step.type.identity} {step.type.cls.version}", fields, _canonical(step.fingerprint)]
    for name in sorted(step.inputs.keys() - without):
        parts += (f"{name} {graph.steps[source.node].key} {source.output}" for source in step.inputs[name])
    if step.type.cls.side_effects:
        parts.append(document)
    return "\x1f".join(parts)


def _canonical(value: object) -> str:
    return "null" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest_json(value: object) -> str:
    """Return the sha256 of a JSON value, independent of the order of keys."""
    return _digest(_canonical(value))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def problem_of(error: BaseException, step: Step) -> Problem:
    """Return the problem to show for an error inside a node."""
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False)[0]
        return Problem(readable(details), node=step.id, field=".".join(map(str, details["loc"])))
    field = getattr(error, "field", "") or (next(iter(step.type.path_fields), "") if hasattr(error, "remedy") else "")
    return Problem(str(error), node=step.id, field=field, remedy=getattr(error, "remedy", ""))
