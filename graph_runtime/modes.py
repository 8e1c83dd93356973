"""Removal of muted and bypassed nodes from a graph, with the nodes that cannot run or lose inputs because of it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from graph_runtime.errors import Problem
from graph_runtime.node import NodeType, accepts
from graph_runtime.steps import Source, Step, ordered
from graph_runtime.workflow import Workflow

MUTE_INSTEAD = "Mute it if that is meant, or make it active."


@dataclass(frozen=True)
class LeftOut:
    """Nodes and wires that a graph loses because nodes are muted or bypassed."""

    dropped: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes that cannot run, each with the reason, such as `latents is muted`."""
    cut: list[tuple[str, str, Source, str]] = field(default_factory=list[tuple[str, str, Source, str]])
    """Inputs that lost a wire: node, input, the removed source, and the reason."""

    def within(self, ids: Collection[str]) -> "LeftOut":
        """Return the part that concerns these nodes."""
        dropped = {id: reason for id, reason in self.dropped.items() if id in ids}
        return LeftOut(dropped, [each for each in self.cut if each[0] in ids])

    def warnings(self) -> Iterator[Problem]:
        """Yield a warning for each node that does not run and each lost wire of a node that runs."""
        for id, reason in self.dropped.items():
            yield Problem(f"does not run: {reason}.", node=id)
        for id, name, _, reason in self.cut:
            if id not in self.dropped:
                yield Problem(f"runs without this wire: {reason}.", node=id, field=name)


def apply_modes(workflow: Workflow, steps: dict[str, Step], palette: Mapping[str, NodeType]) -> LeftOut:
    """Wire through bypassed nodes; remove them, muted nodes and nodes that cannot run without these; return what was lost."""
    gone = {id: f"{id} is {entry.mode}" for id, entry in workflow.nodes.items() if entry.mode != "active"}
    if not gone:
        return LeftOut()
    _wire_through(workflow, steps, palette)
    left_out = LeftOut()
    for id in gone:
        steps.pop(id, None)
    for step in ordered(steps):
        cut = [(step.id, name, s, gone[s.node]) for name, sources in step.inputs.items() for s in sources if s.node in gone]
        if not cut:
            continue
        left_out.cut.extend(cut)
        left = {name: [s for s in sources if s.node not in gone] for name, sources in step.inputs.items()}
        step.inputs = {name: sources for name, sources in left.items() if sources}
        if lacking := _lacking(step):
            gone[step.id] = left_out.dropped[step.id] = next((c[3] for c in cut if c[1] in lacking), cut[0][3])
            del steps[step.id]
    return left_out


def refused_bypasses(workflow: Workflow, left_out: LeftOut) -> Iterator[Problem]:
    """Yield a problem for every bypassed node with a needed output that no input can replace."""
    refused = set[str]()
    for id, _, source, reason in left_out.cut:
        entry = workflow.nodes.get(source.node)
        if entry and entry.mode == "bypassed" and source.node not in refused:
            refused.add(source.node)
            message = f"{id} does not get what it needs: {reason}, and nothing wired to it can stand for its output."
            if id in left_out.dropped:
                message = f"{id} does not run: {reason}, and nothing wired to it can stand for its output."
            yield Problem(message, node=source.node, remedy=MUTE_INSTEAD)


def _lacking(step: Step) -> set[str]:
    """Return the required inputs that have no wire."""
    fields = step.type.cls.model_fields
    unset = {name for name, info in fields.items() if info.is_required() and name not in step.fields}
    needed = unset | {socket.name for socket in step.type.inputs.values() if socket.required}
    choices = [set(group) for group in step.type.cls.one_of if not step.inputs.keys() & set(group)]
    return (needed - step.inputs.keys()).union(*choices)


def _wire_through(workflow: Workflow, steps: Mapping[str, Step], palette: Mapping[str, NodeType]) -> None:
    """Replace every output of a bypassed node by its first input of a fitting type; keep it when there is none."""
    bypassed = {id for id, entry in workflow.nodes.items() if entry.mode == "bypassed"}
    passes = {
        (step.id, output): source
        for step in ordered({id: steps[id] for id in bypassed})
        for output, kind in step.type.outputs.items()
        if (source := _arriving(step, kind, workflow, palette))
    }
    for key, source in passes.items():  # in order: sources of bypassed nodes are already replaced
        passes[key] = passes.get(source, source)
    for step in steps.values():
        step.inputs = {name: [passes.get(source, source) for source in sources] for name, sources in step.inputs.items()}


def _arriving(step: Step, kind: object, workflow: Workflow, palette: Mapping[str, NodeType]) -> Source | None:
    for sources in step.inputs.values():
        for source in sources[:1]:
            offered = palette[workflow.nodes[source.node].type].outputs[source.output]
            if accepts(kind, offered):
                return source
    return None
