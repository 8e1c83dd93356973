"""Reading and checking of the sweeps of a workflow."""

from collections.abc import Collection, Mapping
from functools import cached_property
from itertools import chain
from math import prod
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from graph_runtime.errors import Problem, Suggestions, choice_of
from graph_runtime.node import NodeType
from graph_runtime.overrides import parse_value
from graph_runtime.subgraphs import joined
from graph_runtime.sweeps import Axis, Sweep, choices, lines_of, node_of, reached, upstream, wires_into
from graph_runtime.wording import readable
from graph_runtime.workflow import MAX_PARTS, NodeEntry, Wire, Workflow

MAX_COMBINATIONS = 100
MAX_SWEEPS = 100
"""Most sweeping nodes: each of them searches the whole workflow."""


class Sweeps(NamedTuple):
    """The sweeps of a workflow, and the problems of those that are wrong."""

    found: list[Sweep]
    problems: list[Problem]


def read_sweeps(workflow: Workflow, types: Mapping[str, NodeType]) -> Sweeps:
    """Read a workflow without subgraphs; muted and bypassed nodes sweep nothing."""
    sweeping = [id for id, entry in workflow.nodes.items() if entry.mode == "active" and _pairs(entry, types)]
    if len(sweeping) > MAX_SWEEPS:
        message = f"{len(sweeping)} nodes of the workflow sweep fields; at most {MAX_SWEEPS} can."
        return Sweeps([], [Problem(message, sweeping[MAX_SWEEPS], remedy="Remove some, or mute them.")])
    reading = _Reading(workflow, types, sweeping)
    return Sweeps([sweep for id in sweeping if (sweep := reading.sweep(id))], reading.problems)


class _Refused(Exception):
    """A sweep is wrong; its problem has been noted."""


class _Reading:
    def __init__(self, workflow: Workflow, types: Mapping[str, NodeType], sweeping: Collection[str]) -> None:
        self.nodes = workflow.nodes
        self.wires = workflow.wires
        self.types = types
        self.sweeping = sweeping
        self.problems: list[Problem] = []
        self.suggestions = Suggestions()
        self.copies = 0

    @cached_property
    def into(self) -> dict[str, list[Wire]]:
        """Return the wires into each node."""
        return wires_into(self.wires)

    @cached_property
    def wired(self) -> set[str]:
        """Return the targets of all wires."""
        return {wire.target for wire in self.wires}

    def sweep(self, id: str) -> Sweep | None:
        """Return the sweep of a node; None when it is wrong."""
        many = {socket.name for socket in self.types[self.nodes[id].type].inputs.values() if socket.many}
        ends = tuple(wire for wire in self.into.get(id, ()) if wire.target.split(".")[1] in many)
        above = upstream([node_of(wire.source) for wire in ends], self.into) & self.nodes.keys()
        try:
            axes = self._axes(id, above)
            sweep = Sweep(id, axes, self._between(axes, above), ends, f"{id}-" if len(self.sweeping) > 1 else "")
            self._check_copies(sweep)
            for node in dict.fromkeys(axis.node for axis in axes):
                self._check_values(sweep, node)
        except _Refused:
            return None
        return sweep

    def _axes(self, id: str, above: Collection[str]) -> tuple[Axis, ...]:
        """Return an axis for each pair of fields that is set."""
        entry = self.nodes[id]
        pairs = _pairs(entry, self.types)
        fields = self.types[entry.type].cls.model_fields
        for name in chain.from_iterable(pairs):
            if f"{id}.{name}" in self.wired:
                message = "this field takes no wire: what is swept must be known before anything runs."
                self._refuse(message, id, name, "Set the value in the node.")
        defaults = {name: "" if info.is_required() else info.get_default() for name, info in fields.items()}
        said = {name: str(entry.fields.get(name, defaults[name])) for name in chain.from_iterable(pairs)}
        axes = tuple(self._axis(id, pair, said, above) for pair in pairs if any(said[name].strip() for name in pair))
        if not axes:
            self._refuse("no field is named, so there is nothing to sweep.", id, pairs[0][0], _choice_of(above))
        if prod(len(axis.values) for axis in axes) > MAX_COMBINATIONS:
            message = f"there are more than {MAX_COMBINATIONS} combinations of values."
            self._refuse(message, id, axes[0].listed, "Remove some values.")
        if len({(axis.node, axis.field) for axis in axes}) < len(axes):
            self._refuse("the same field is swept twice.", id, axes[-1].name, "Name another field, or none.")
        return axes

    def _axis(self, id: str, pair: tuple[str, str], said: Mapping[str, str], above: Collection[str]) -> Axis:
        name, listed = pair
        node, dot, field = said[name].strip().partition(".")
        if not dot:
            self._refuse(f"{said[name][:60]!r} is not of the form node.field.", id, name, _choice_of(above))
        node = self._meant(id, node)
        if problem := self._why_not(node, field, above):
            self._refuse(problem[0], id, name, problem[1])
        if not (lines := lines_of(said[listed])):
            self._refuse("there are no values.", id, listed, "Write one per line.")
        return Axis(name, listed, node, field, self._values(id, listed, self.types[self.nodes[node].type], field, lines))

    def _meant(self, id: str, node: str) -> str:
        """Return the expanded id of a node, which a sweeping node inside a subgraph may name by its inner id."""
        beside = joined(id.rpartition("--")[0], node)
        return beside if beside in self.nodes else node

    def _why_not(self, node: str, field: str, above: Collection[str]) -> tuple[str, str] | None:
        """Return why a field cannot be swept, and the remedy; None when it can."""
        if node not in self.nodes:
            return f"there is no node {node[:60]!r}.", self.suggestions.did_you_mean(node, above, _choice_of(above))
        node_type = self.types.get(self.nodes[node].type)
        if not node_type:
            return f"the type of {node} is not known.", "Install the package that brings it."
        if field not in (fields := node_type.cls.model_fields):
            remedy = self.suggestions.did_you_mean(field, fields, choice_of("fields", fields))
            return f"{node_type.name} has no field {field[:60]!r}.", remedy
        if node not in above:
            return f"nothing leads from {node} to this node, so its fields change nothing here.", _choice_of(above)
        if f"{node}.{field}" in self.wired:
            return f"a wire sets {node}.{field}.", "Remove that wire, or sweep the node where it begins."
        if self.nodes[node].mode == "bypassed":
            return f"{node} is bypassed, so its fields change nothing.", "Make it active."
        return None

    def _values(self, id: str, listed: str, node_type: NodeType, field: str, lines: list[str]) -> tuple[Any, ...]:
        annotation = node_type.cls.model_fields[field].rebuild_annotation()
        values: list[Any] = []
        for line in lines[: MAX_COMBINATIONS + 1]:
            try:
                value = to_jsonable_python(parse_value(line, annotation))
            except ValidationError as error:
                reason = readable(error.errors(include_url=False)[0])
                self._refuse(f"{line[:60]!r} does not fit {node_type.name}.{field}: {reason}", id, listed, "Change this value.")
            if value in values:
                self._refuse(f"{line[:60]!r} stands here twice.", id, listed, "Remove one of them.")
            values.append(value)
        return tuple(values)

    def _between(self, axes: tuple[Axis, ...], above: Collection[str]) -> dict[str, tuple[Axis, ...]]:
        """Return every node downstream of a swept one and upstream of the sweeping one, with the axes that it depends on."""
        out: dict[str, list[str]] = {}
        for wire in self.wires:
            if node_of(wire.target) in above:
                out.setdefault(node_of(wire.source), []).append(node_of(wire.target))
        below = {axis.name: reached([axis.node], out) for axis in axes}
        found = {id: tuple(axis for axis in axes if id in below[axis.name]) for id in self.nodes if id in above}
        return {id: own for id, own in found.items() if own}

    def _check_copies(self, sweep: Sweep) -> None:
        """Refuse too many copies, and nodes that cannot be copied."""
        numbers = {node: prod(len(axis.values) for axis in axes) for node, axes in sweep.between.items()}
        self.copies += sum(number * (1 + len(self.into.get(node, ()))) for node, number in numbers.items())
        self.copies += len(sweep.ends) * prod(len(axis.values) for axis in sweep.axes)
        if self.copies > MAX_PARTS:
            message = f"all sweeps together take more than {MAX_PARTS} copies of nodes and wires."
            self._refuse(message, sweep.node, "", "Sweep fewer values.")
        for node, axes in sweep.between.items():
            if node in self.sweeping:
                message = f"{node}, which lies between this node and {axes[0].node}, sweeps fields itself."
                self._refuse(message, sweep.node, axes[0].name, "Wire what is swept to both of them.")
            for choice in choices(axes):
                if (copy := sweep.copy_id(node, choice)) in self.nodes:
                    message = f"a copy of {node} would be called {copy}, as another node is."
                    self._refuse(message, sweep.node, axes[0].name, "Rename that node.")

    def _check_values(self, sweep: Sweep, node: str) -> None:
        """Refuse values that are valid alone, but not together or in this node."""
        own = [axis for axis in sweep.axes if axis.node == node]
        cls = self.types[self.nodes[node].type].cls
        for choice in choices(own):
            try:
                cls.model_validate(sweep.entry(node, self.nodes[node], choice).fields)
            except ValidationError as error:
                errors = [each for each in error.errors(include_url=False) if f"{node}.{_place(each)}" not in self.wired]
                wrong = [each for each in errors if _place(each) in {"", *(axis.field for axis in own)}]
                shown = ", ".join(f"{axis.field} = {axis.values[choice[axis.name]]!r}" for axis in own)[:120]
                if wrong:
                    message = f"{cls.__name__} refuses {shown}: {readable(wrong[0])}"
                    self._refuse(message, sweep.node, own[0].listed, "Change this value.")

    def _refuse(self, message: str, id: str, field: str, remedy: str) -> NoReturn:
        self.problems.append(Problem(message, id, field, remedy))
        raise _Refused


def _pairs(entry: NodeEntry, types: Mapping[str, NodeType]) -> tuple[tuple[str, str], ...]:
    return types[entry.type].cls.sweeps if entry.type in types else ()


def _place(details: ErrorDetails) -> str:
    return str(details["loc"][0]) if details["loc"] else ""


def _choice_of(above: Collection[str]) -> str:
    names = ", ".join(sorted(above)[:30])
    return f"Write node.field with a node upstream: {names}." if names else "Wire something to this node."
