"""Migration of documents of earlier releases to today's names of classes, fields, inputs and outputs."""

from collections.abc import Collection, Mapping
from typing import Any

from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.migration import Migration
from graph_runtime.node import NodeType
from graph_runtime.subgraphs import SUBGRAPH
from graph_runtime.workflow import NodeEntry, Subgraph, Wire, Workflow

Nodes = Mapping[str, NodeEntry]
Types = Mapping[str, NodeType]
Sockets = Mapping[str, Collection[str]]


def migrated(workflow: Workflow, types: Types) -> Workflow:
    """Return the document with today's names in every node; the document itself when none of its classes has changed names.

    Nodes of unknown classes stay as they are. Raises WorkflowError naming every node that a newer program has written.
    """
    known = {former: node_type for node_type in types.values() for former in node_type.cls.former_names} | dict(types)
    levels = [workflow.nodes, *(subgraph.nodes for subgraph in workflow.subgraphs.values())]
    if problems := [problem for nodes in levels for problem in _newer(nodes, known)]:
        raise WorkflowError(*problems)
    if not any(_is_old(entry, known) for nodes in levels for entry in nodes.values()):
        return workflow
    removed = _removed_sockets(workflow.subgraphs, known)
    changes = _Level(workflow.nodes, known, removed)
    subgraphs = {
        id: _migrated_subgraph(subgraph, _Level(subgraph.nodes, known, removed)) for id, subgraph in workflow.subgraphs.items()
    }
    return workflow.model_copy(update={"nodes": changes.nodes(), "wires": changes.wires(workflow.wires), "subgraphs": subgraphs})


def _removed_sockets(subgraphs: Mapping[str, Subgraph], known: Types) -> Sockets:
    """Return by subgraph the inputs that lead to a removed field, be it through subgraphs inside."""
    removed: Sockets = {}
    while True:
        levels = {id: _Level(subgraph.nodes, known, removed) for id, subgraph in subgraphs.items()}
        found = {
            id: {name for name, end in subgraph.inputs.items() if levels[id].is_removed(end)}
            for id, subgraph in subgraphs.items()
        }
        if found == removed:
            return found
        removed = found


def _migrated_subgraph(subgraph: Subgraph, changes: "_Level") -> Subgraph:
    update = {
        "nodes": changes.nodes(),
        "wires": changes.wires(subgraph.wires),
        "inputs": {name: changes.target(end) for name, end in subgraph.inputs.items() if not changes.is_removed(end)},
        "outputs": {name: changes.source(end) for name, end in subgraph.outputs.items()},
    }
    return subgraph.model_copy(update=update)


def _newer(nodes: Nodes, known: Types) -> list[Problem]:
    """Return a problem for each node with a schema version newer than this program's."""
    problems: list[Problem] = []
    for id, entry in nodes.items():
        newest = known[entry.type].schema_version if entry.type in known else entry.schema_version
        if entry.schema_version > newest:
            message = f"{entry.type} was saved with schema version {entry.schema_version}; this program knows up to {newest}."
            problems.append(Problem(message, node=id, remedy="Update the program, or the package that brings the node."))
    return problems


def _is_old(entry: NodeEntry, known: Types) -> bool:
    node_type = known.get(entry.type)
    return node_type is not None and (entry.type != node_type.name or bool(_due(entry, node_type)))


def _due(entry: NodeEntry, node_type: NodeType) -> list[Migration]:
    """Return the migrations since the entry was written, oldest first.

    Files from before versions were stored look like those of version 1, so number 0 is due for both.
    """
    first = entry.schema_version if entry.schema_version > 1 else 0
    return [change for version, change in sorted(node_type.cls.migrations.items()) if version >= first]


class _Level:
    """One graph of a document and the migrations due for each node."""

    def __init__(self, nodes: Nodes, known: Types, removed: Sockets) -> None:
        self._nodes = nodes
        self._known = known
        self._removed = {
            id: removed.get(str(entry.fields.get("subgraph")), ()) for id, entry in nodes.items() if entry.type == SUBGRAPH
        }
        self._due = {id: _due(entry, known[entry.type]) for id, entry in nodes.items() if entry.type in known}

    def nodes(self) -> dict[str, NodeEntry]:
        """Return the migrated nodes."""
        return {id: self._entry(id, entry) for id, entry in self._nodes.items()}

    def wires(self, wires: list[Wire]) -> list[Wire]:
        """Return the wires with today's socket names, without those to what was removed."""
        return [
            wire.model_copy(update={"source": self.source(wire.source), "target": self.target(wire.target)})
            for wire in wires
            if not self.is_removed(wire.target)
        ]

    def is_removed(self, end: str) -> bool:
        """Return whether an `ID.field` names a field that was removed, or an input of a subgraph that led to one."""
        node, _, name = end.partition(".")
        if name in self._removed.get(node, ()):
            return True
        for change in self._due.get(node, ()):
            name = change.inputs.get(name, name)
            if name in change.removed:
                return True
        return False

    def target(self, end: str) -> str:
        """Return an `ID.input` or `ID.field` with today's name."""
        node, _, name = end.partition(".")
        for change in self._due.get(node, ()):
            name = change.inputs.get(name, name)
        return f"{node}.{name}"

    def source(self, end: str) -> str:
        """Return an `ID.output` with today's name."""
        node, _, name = end.partition(".")
        for change in self._due.get(node, ()):
            name = change.outputs.get(name, name)
        return f"{node}.{name}"

    def _entry(self, id: str, entry: NodeEntry) -> NodeEntry:
        node_type = self._known.get(entry.type)
        if node_type is None:
            return entry
        fields: dict[str, Any] = dict(entry.fields)
        for change in self._due[id]:
            fields = change.migrated(fields)
        for named, _ in node_type.cls.sweeps:
            if isinstance(swept := fields.get(named), str) and "." in swept:
                fields[named] = "" if self.is_removed(swept.strip()) else self.target(swept.strip())
        update = {"type": node_type.name, "fields": fields, "schema_version": node_type.schema_version}
        return entry.model_copy(update=update)
