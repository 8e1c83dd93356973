"""Every problem of a workflow at once, each with node, field and remedy."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from graph_runtime.discovery import Palette
from graph_runtime.errors import Problem, Suggestions, WorkflowError, choice_of
from graph_runtime.graph import build_graph, dependencies, problem_of
from graph_runtime.modes import refused_bypasses
from graph_runtime.node import Node, NodeType, Socket, accepts, type_name
from graph_runtime.subgraphs import expand
from graph_runtime.sweep_reading import read_sweeps
from graph_runtime.wording import readable
from graph_runtime.workflow import NodeEntry, Wire, Workflow
from graph_runtime.workspace import PathRefused, Workspace

KINDS = {"workspace-folder": "folder", "workspace-file": "file", "workspace-path": "file or folder", "model": "model"}
"""Words for each kind of path."""
NO_WIRE = "this field takes no wire: what the node reads from outside must be known before anything runs."


def refuses_wires(node_type: NodeType) -> str:
    """Return why the fields of a node take no wires; empty when they do."""
    return NO_WIRE if node_type.cls.fingerprint is not Node.fingerprint else ""


def validate(workflow: Workflow, palette: Palette, workspace: Workspace) -> list[Problem]:
    """Return every problem of a workflow; an empty list means that it can be run."""
    workflow, problems, cut = expand(workflow)
    if not problems:
        problems += _sweep_problems(workflow, palette.types, workspace)
    known = {id: palette.types[entry.type] for id, entry in workflow.nodes.items() if entry.type in palette.types}
    suggestions = Suggestions()
    problems += _unknown_types(workflow, palette, suggestions)
    wired: dict[str, dict[str, int]] = {}
    for end in cut:
        node, name = end.split(".")
        wired.setdefault(node, {})[name] = 1
    for wire in workflow.wires:
        problems += _wire_problems(wire, workflow, known, suggestions)
        node, name = wire.target.split(".")
        wired.setdefault(node, {})
        wired[node][name] = wired[node].get(name, 0) + 1
    for id, node_type in known.items():
        entry = workflow.nodes[id]
        problems += _field_problems(id, entry, node_type, set(wired.get(id, ())), suggestions)
        problems += _path_problems(id, entry, node_type, workspace)
        problems += _socket_problems(id, node_type, wired.get(id, {}))
    problems += _cycles(workflow)
    return problems or list(_graph_problems(workflow, palette.types))


def _graph_problems(workflow: Workflow, types: Mapping[str, NodeType]) -> Iterator[Problem]:
    """Yield problems from the nodes' own checks, and of bypassed nodes whose output no input can replace."""
    try:
        graph = build_graph(workflow, types)
    except WorkflowError as error:  # fields that are valid only with the value of a muted node
        yield from error.problems
        return
    yield from refused_bypasses(workflow, graph.left_out)
    for step in graph.steps.values():
        if step.node:
            sources = {name: step.inputs.get(name, ()) for name in step.type.inputs}
            wired = {name: [graph.steps[source.node].node or Node() for source in each] for name, each in sources.items()}
            try:
                step.node.check(wired)
            except ValueError as error:
                yield problem_of(error, step)


def warnings(workflow: Workflow, palette: Palette) -> list[Problem]:
    """Return warnings about nodes and wires that a valid workflow leaves out because nodes are muted or bypassed."""
    flat = expand(workflow).workflow
    if all(entry.mode == "active" for entry in flat.nodes.values()):
        return []
    return list(build_graph(flat, palette.types).left_out.warnings())


def _sweep_problems(workflow: Workflow, types: Mapping[str, NodeType], workspace: Workspace) -> Iterator[Problem]:
    sweeps, problems = read_sweeps(workflow, types)
    yield from problems
    for sweep in sweeps:
        for axis in sweep.axes:
            entry = workflow.nodes[axis.node]
            for value in axis.values:
                changed = entry.model_copy(update={"fields": {axis.field: value}})
                for problem in _path_problems(axis.node, changed, types[entry.type], workspace):
                    yield replace(problem, node=sweep.node, field=axis.listed)


def _unknown_types(workflow: Workflow, palette: Palette, suggestions: Suggestions) -> Iterator[Problem]:
    for id, entry in workflow.nodes.items():
        if entry.type not in palette.types:
            remedy = suggestions.did_you_mean(entry.type, palette.types, "Install the package that brings it.")
            yield Problem(f"there is no node type {entry.type[:60]!r}.", node=id, remedy=remedy)


def _field_problems(
    id: str, entry: NodeEntry, node_type: NodeType, wired: set[str], suggestions: Suggestions
) -> Iterator[Problem]:
    try:
        node_type.cls.model_validate(entry.fields)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            name = str(details["loc"][0]) if details["loc"] else ""
            if not (details["type"] == "missing" and name in wired):
                yield _field_problem(id, details, node_type, suggestions)


def _field_problem(id: str, details: ErrorDetails, node_type: NodeType, suggestions: Suggestions) -> Problem:
    field, kind = ".".join(map(str, details["loc"]))[:120], details["type"]
    if kind == "extra_forbidden":
        fields = node_type.cls.model_fields
        remedy = suggestions.did_you_mean(field, fields, choice_of("fields", fields))
        return Problem(f"{node_type.name} has no field {field[:60]!r}.", node=id, field=field, remedy=remedy)
    if kind == "missing":
        return Problem("the field has no value.", node=id, field=field, remedy="Set it or wire something to it.")
    return Problem(readable(details), node=id, field=field)


def _path_problems(id: str, entry: NodeEntry, node_type: NodeType, workspace: Workspace) -> Iterator[Problem]:
    for name, kind in node_type.path_fields.items():
        value = entry.fields.get(name)
        if value == "" and node_type.cls.model_fields[name].is_required():
            yield Problem("nothing is chosen.", node=id, field=name, remedy=f"Choose a {KINDS[kind]}.")
        if isinstance(value, str) and value:
            try:
                path = workspace.resolve(value)
            except PathRefused as error:
                yield Problem(str(error), node=id, field=name, remedy=error.remedy)
                continue
            is_there = {"workspace-folder": path.is_dir, "workspace-file": path.is_file, "workspace-path": path.exists}
            if kind in is_there and not is_there[kind]():
                remedy = f"Choose a {KINDS[kind]}." if Path(value).is_absolute() else f"It is looked for in {workspace.root}."
                yield Problem(f"there is no {KINDS[kind]} {value!r}.", node=id, field=name, remedy=remedy)


def _wire_problems(wire: Wire, workflow: Workflow, known: dict[str, NodeType], suggestions: Suggestions) -> Iterator[Problem]:
    (source, output), (target, name) = wire.source.split("."), wire.target.split(".")
    for end in (source, target):
        if end not in workflow.nodes:
            remedy = suggestions.did_you_mean(end, workflow.nodes, "Add the node or remove the wire.")
            yield Problem(f"a wire from {wire.source} to {wire.target} names a node that is not there.", node=end, remedy=remedy)
    offered = known[source].outputs if source in known else None
    sockets = known[target].inputs if target in known else None
    if offered is not None and output not in offered:
        remedy = choice_of("outputs", offered)
        yield Problem(f"{known[source].name} has no output {output!r}.", node=source, field=output, remedy=remedy)
    if sockets is not None and name not in sockets:
        remedy = choice_of("inputs", sockets)
        yield Problem(f"{known[target].name} has no input {name!r}.", node=target, field=name, remedy=remedy)
    if offered and sockets and output in offered and name in sockets:
        yield from _type_problem(wire, known[target], sockets[name], offered[output])


def _type_problem(wire: Wire, node_type: NodeType, socket: Socket, offered: object) -> Iterator[Problem]:
    if socket.is_field and (message := refuses_wires(node_type)):
        node, name = wire.target.split(".")
        yield Problem(message, node=node, field=name, remedy="Set the value in the node.")
    elif not accepts(socket.type, offered):
        node, name = wire.target.split(".")
        message = f"{wire.source} is {type_name(offered)}, but {socket.type_name} is needed."
        yield Problem(message, node=node, field=name, remedy=f"Wire an output of type {socket.type_name} to it.")


def _socket_problems(id: str, node_type: NodeType, wired: dict[str, int]) -> Iterator[Problem]:
    for socket in node_type.inputs.values():
        count = wired.get(socket.name, 0)
        if socket.required and not count:
            yield Problem("nothing is wired to this input.", id, socket.name, f"It needs {socket.type_name}.")
        if count > 1 and not socket.many:
            yield Problem(f"{count} wires end here, but the input takes one.", id, socket.name, "Remove all but one.")
    for group in node_type.cls.one_of:
        if not any(wired.get(name) for name in group):
            yield Problem(f"one of {' and '.join(group)} needs a wire.", id, group[0], "Wire the one that this use calls for.")


def _cycles(workflow: Workflow) -> Iterator[Problem]:
    import networkx as nx

    graph = dependencies(workflow)
    if nx.is_directed_acyclic_graph(graph):
        return
    places = {id: place for place, id in enumerate(workflow.nodes)}
    to_themselves = {source for source, target in graph.edges if source == target}
    for component in nx.strongly_connected_components(graph):
        if len(component) > 1 or component & to_themselves:
            members = sorted(component & workflow.nodes.keys(), key=places.__getitem__)
            names = ", ".join(members[:12]) + (" ..." if len(members) > 12 else "")
            first = members[0] if members else ""
            yield Problem(f"these nodes depend on each other in a circle: {names}.", node=first, remedy="Remove one wire.")
