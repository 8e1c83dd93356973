"""The nodes of a graph as they will run, and their order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graph_runtime.node import Json, Node, NodeType


class Source(NamedTuple):
    """The origin of a value: an output of a node."""

    node: str
    output: str


@dataclass
class Step:
    """One node of the graph, ready to run once its inputs are there."""

    id: str
    type: NodeType
    fields: dict[str, Any]
    """Field values from the document, without wired fields."""
    inputs: dict[str, list[Source]] = field(default_factory=dict[str, list[Source]])
    node: Node | None = None
    """The node; None when a field is wired, so that it can only be made when it runs."""
    fingerprint: Json = None
    known: Json = None
    """What is known of the output beforehand."""
    warnings: list[str] = field(default_factory=list[str])
    """Warnings of the fingerprint."""
    key: str = ""
    stem: str = ""
    """The key without the fields that the node `continues`; empty when there are none."""

    def make_node(self, wired: Mapping[str, Any]) -> Node:
        """Return the node with its wired fields filled in."""
        return self.node or self.type.cls.model_validate({**self.fields, **wired})


def ordered(steps: Mapping[str, Step]) -> Iterator[Step]:
    """Yield the steps in topological order."""
    import networkx as nx  # costs 0.15 s, which the start of the server need not wait for

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(steps)
    for step in steps.values():
        sources = dict.fromkeys(source.node for each in step.inputs.values() for source in each)
        graph.add_edges_from((source, step.id) for source in sources if source in steps)
    return iter([steps[id] for id in nx.topological_sort(graph)])
