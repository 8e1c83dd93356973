"""Expansion of Subgraph nodes to the nodes inside them, so that later stages have plain nodes only."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from graph_runtime.errors import Problem, Suggestions, WorkflowError, choice_of
from graph_runtime.workflow import MAX_PARTS, NodeEntry, Subgraph, Wire, Workflow

SUBGRAPH = "Subgraph"
MAX_ID = 64
DIGEST_DIGITS = 32
MAX_DEPTH = 32


def expanded(workflow: Workflow) -> Workflow:
    """Return the workflow with its Subgraph nodes replaced by their inner nodes, `OUTER--INNER`.

    At an input that takes several wires, those from inside come first. Raises WorkflowError naming every Subgraph node
    whose definition is missing or contains itself.
    """
    whole = expand(workflow)
    if whole.problems:
        raise WorkflowError(*whole.problems)
    return whole.workflow


def expand(workflow: Workflow) -> "Expanded":
    """Return the expanded workflow as far as possible, and the problems of the rest."""
    if not any(entry.type == SUBGRAPH for entry in workflow.nodes.values()):
        return Expanded(workflow, [], frozenset())
    expansion = _Expansion(workflow.subgraphs)
    wires = expansion.add(workflow.nodes, workflow.wires, "", "active", ())
    update = {"nodes": expansion.nodes, "wires": wires, "subgraphs": {}}
    return Expanded(workflow.model_copy(update=update), expansion.problems, frozenset(expansion.cut))


class Expanded(NamedTuple):
    """A workflow of plain nodes, and the problems of the missing ones."""

    workflow: Workflow
    problems: list[Problem]
    cut: frozenset[str]
    """Inputs, as `NODE.NAME`, whose wire comes from a missing node."""


def expanded_ids(workflow: Workflow, ids: Collection[str]) -> dict[str, list[str]]:
    """Return, for nodes at any depth, their ids in the expanded workflow: their own, or those of all nodes inside.

    The workflow must have no problem.
    """
    found: dict[str, list[str]] = {id: [] for id in ids}
    for path in _paths(workflow.nodes, workflow.subgraphs, ()):
        for above in path:
            if above in found:
                found[above].append(path[-1])
    return {id: inside or [id] for id, inside in found.items()}


def joined(outer: str, inner: str) -> str:
    """Return the id of a node inside a subgraph; one that is too long is cut and ends in its digest, so that it is unique."""
    id = f"{outer}--{inner}" if outer else inner
    return id if len(id) <= MAX_ID else f"{id[: MAX_ID - DIGEST_DIGITS - 1]}-{sha256(id.encode()).hexdigest()[:DIGEST_DIGITS]}"


def _paths(
    nodes: Mapping[str, NodeEntry], subgraphs: Mapping[str, Subgraph], above: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Yield for every plain node its path: the expanded ids of the Subgraph nodes around it, then its own."""
    for name, entry in nodes.items():
        here = (*above, joined(above[-1] if above else "", name))
        if entry.type == SUBGRAPH:
            yield from _paths(subgraphs[str(entry.fields["subgraph"])].nodes, subgraphs, here)
        else:
            yield here


@dataclass
class _Expansion:
    subgraphs: Mapping[str, Subgraph]
    nodes: dict[str, NodeEntry] = field(default_factory=dict[str, NodeEntry])
    inputs: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """For each Subgraph node, by name, the inner end of an input, which may itself be an input of a Subgraph node."""
    outputs: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    parts: int = 0
    """The number of nodes, wires and sockets inside subgraphs so far: few definitions can expand to very many."""
    problems: list[Problem] = field(default_factory=list[Problem])
    suggestions: Suggestions = field(default_factory=Suggestions)
    cut: set[str] = field(default_factory=set[str])
    """Inputs whose wire comes from a node that cannot be expanded."""

    def add(
        self, nodes: Mapping[str, NodeEntry], wires: list[Wire], outer: str, mode: str, within: tuple[str, ...]
    ) -> list[Wire]:
        """Add the nodes of one level, and of those below; return the wires."""
        inner: list[Wire] = []
        for name, entry in nodes.items():
            id = joined(outer, name)
            changed = entry if mode == "active" else entry.model_copy(update={"mode": mode})
            if id in self.nodes or id in self.inputs:
                self._problem("another node has this id once subgraphs are taken apart.", id, "Rename one of them.", "")
            elif entry.type == SUBGRAPH:
                inner += self._enter(id, changed, within)
            else:
                self.nodes[id] = changed
        return inner + [found for wire in wires if (found := self._rewired(wire, outer))]

    def _enter(self, id: str, entry: NodeEntry, within: tuple[str, ...]) -> list[Wire]:
        self.inputs[id], self.outputs[id] = {}, {}
        name = entry.fields.get("subgraph")
        if not isinstance(name, str) or name not in self.subgraphs:
            remedy = self.suggestions.did_you_mean(
                str(name), self.subgraphs, "Remove the node, or bring the subgraph with the document."
            )
            self._problem(f"there is no subgraph {str(name)[:60]!r}.", id, remedy)
        elif name in within:
            self._problem(f"the subgraph {name!r} contains itself.", id, "Remove this node from inside it.")
        elif len(within) >= MAX_DEPTH:
            self._problem(f"more than {MAX_DEPTH} subgraphs lie inside each other.", id)
        elif self._has_room(id, self.subgraphs[name]):
            subgraph = self.subgraphs[name]
            self.inputs[id] = {outer: _below(id, end) for outer, end in subgraph.inputs.items()}
            self.outputs[id] = {outer: _below(id, end) for outer, end in subgraph.outputs.items()}
            return self.add(subgraph.nodes, subgraph.wires, id, entry.mode, (*within, name))
        return []

    def _has_room(self, id: str, subgraph: Subgraph) -> bool:
        had_room = self.parts <= MAX_PARTS
        self.parts += sum(map(len, (subgraph.nodes, subgraph.wires, subgraph.inputs, subgraph.outputs)))
        if had_room and self.parts > MAX_PARTS:
            self._problem(f"all subgraphs together have more than {MAX_PARTS} nodes and wires.", id)
        return self.parts <= MAX_PARTS

    def _rewired(self, wire: Wire, outer: str) -> Wire | None:
        source = self._followed(_below(outer, wire.source), self.outputs, "output")
        target = self._followed(_below(outer, wire.target), self.inputs, "input")
        if target is not None and source is None:
            self.cut.add(target)
        if source is None or target is None:
            return None
        unchanged = (source, target) == (wire.source, wire.target)
        return wire if unchanged else Wire(source=source, target=target, via=wire.via)

    def _followed(self, end: str, sockets: Mapping[str, Mapping[str, str]], kind: str) -> str | None:
        """Return the end at a plain node behind an end at a Subgraph node; each step goes one level down."""
        for _ in range(MAX_DEPTH + 1):
            node, name = end.split(".")
            if node not in sockets:
                return end
            if name not in sockets[node]:
                remedy = choice_of(f"{kind}s", sockets[node])
                self.problems.append(Problem(f"the subgraph has no {kind} {name!r}.", node, name, remedy))
                return None
            end = sockets[node][name]
        node, name = end.split(".")
        self.problems.append(Problem(f"this {kind} leads through more than {MAX_DEPTH} subgraphs.", node, name))
        return None

    def _problem(self, message: str, id: str, remedy: str = "", field: str = "subgraph") -> None:
        self.problems.append(Problem(message, id, field, remedy))


def _below(outer: str, end: str) -> str:
    node, _, name = end.partition(".")
    return f"{joined(outer, node)}.{name}"
