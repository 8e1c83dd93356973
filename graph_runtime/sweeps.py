"""Nodes that sweep fields of upstream nodes: nodes between are copied once per combination of values."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from graph_runtime.subgraphs import joined
from graph_runtime.workflow import NodeEntry, Wire, Workflow

Choice = Mapping[str, int]
"""By name of each axis, the index of the chosen value."""


@dataclass(frozen=True)
class Axis:
    """A field of a node, and the values that it takes in turn."""

    name: str
    """The sweeping node's field that names the swept one."""
    listed: str
    """The sweeping node's field that lists the values."""
    node: str
    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Sweep:
    """A sweeping node, and the nodes between it and those whose fields it sweeps."""

    node: str
    axes: tuple[Axis, ...]
    between: Mapping[str, tuple[Axis, ...]]
    """The nodes that are copied, each with the axes that it depends on."""
    ends: tuple[Wire, ...]
    """The wires to the sweeping node that every combination repeats."""
    prefix: str
    """Distinguishes its copies from those of other sweeps."""

    def copy_id(self, node: str, choice: Choice) -> str:
        """Return the id of a node's copy, or of the node itself when it does not depend on a swept field."""
        places = "".join(f"{axis.name}{choice[axis.name] + 1}" for axis in self.between.get(node, ()))
        return joined(node, f"{self.prefix}{places}") if places else node

    def entry(self, node: str, entry: NodeEntry, choice: Choice) -> NodeEntry:
        """Return the copy of a node."""
        chosen = {axis.field: axis.values[choice[axis.name]] for axis in self.axes if axis.node == node}
        return entry.model_copy(update={"fields": {**entry.fields, **chosen}}) if chosen else entry

    def copied(self, wire: Wire, choice: Choice) -> Wire:
        """Return the copy of a wire."""
        (source, output), (target, name) = wire.source.split("."), wire.target.split(".")
        return Wire(source=f"{self.copy_id(source, choice)}.{output}", target=f"{self.copy_id(target, choice)}.{name}")


def swept(workflow: Workflow, sweeps: Collection[Sweep], keep: Collection[str] = ()) -> Workflow:
    """Return a workflow without subgraphs, swept nodes copied once per combination, as `NODE--x2y1`.

    The originals of copied nodes remain only if another node needs them or they are in `keep`.
    """
    if not sweeps:
        return workflow
    into = wires_into(workflow.wires)
    nodes, fresh = dict(workflow.nodes), list[Wire]()
    for sweep in sweeps:
        for node, axes in sweep.between.items():
            for choice in choices(axes):
                nodes[sweep.copy_id(node, choice)] = sweep.entry(node, workflow.nodes[node], choice)
                fresh += (sweep.copied(wire, choice) for wire in into.get(node, ()))
        fresh += (sweep.copied(wire, choice) for choice in choices(sweep.axes) for wire in sweep.ends)
    replaced = {(wire.source, wire.target) for sweep in sweeps for wire in sweep.ends}
    wires = [*(wire for wire in workflow.wires if (wire.source, wire.target) not in replaced), *fresh]
    spare = set(chain.from_iterable(sweep.between for sweep in sweeps)) - set(keep)
    needed = upstream([id for id in nodes if id not in spare], wires_into(wires))
    left = {id: entry for id, entry in nodes.items() if id in needed}
    return workflow.model_copy(update={"nodes": left, "wires": [wire for wire in wires if node_of(wire.target) in left]})


def choices(axes: Collection[Axis]) -> Iterator[Choice]:
    """Yield all combinations, those of the first axis changing fastest."""
    for numbers in product(*(range(len(axis.values)) for axis in reversed(list(axes)))):
        yield {axis.name: number for axis, number in zip(axes, reversed(numbers), strict=True)}


def lines_of(values: str) -> list[str]:
    """Return the values that a text lists, one per line."""
    return [line.strip() for line in values.splitlines() if line.strip()]


def node_of(end: str) -> str:
    """Return the node of a wire's end."""
    return end.partition(".")[0]


def wires_into(wires: Collection[Wire]) -> dict[str, list[Wire]]:
    """Return the wires that end at each node, in order."""
    into: dict[str, list[Wire]] = {}
    for wire in wires:
        into.setdefault(node_of(wire.target), []).append(wire)
    return into


def upstream(ids: Collection[str], into: Mapping[str, list[Wire]]) -> set[str]:
    """Return the nodes and everything upstream."""
    return reached(ids, {id: [node_of(wire.source) for wire in wires] for id, wires in into.items()})


def reached(ids: Collection[str], neighbors: Mapping[str, Collection[str]]) -> set[str]:
    """Return the nodes, their neighbors, those of these, and so on."""
    found, open_ = set(ids), list(ids)
    while open_:
        fresh = set(neighbors.get(open_.pop(), ())) - found
        found |= fresh
        open_ += fresh
    return found
