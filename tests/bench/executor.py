"""Overhead of the runtime per trivial node: microseconds of CPU time beside a bare networkx loop, first run and fully cached.

python tests/bench/executor.py
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import networkx as nx

from graph_runtime.cache import Cache
from graph_runtime.emitter import Emitter
from graph_runtime.executor import RunEnvironment, execute
from graph_runtime.graph import build_graph, compute_keys
from graph_runtime.provenance import carried_document
from graph_runtime.runs import RunFolder
from graph_runtime.validation import validate
from graph_runtime.workflow import Workflow, workflow_from_json
from graph_runtime.workspace import OutsideReader, Workspace
from tests.bench.figures import record
from tests.graph_runtime.toys import CALLS, PALETTE

Edges = list[tuple[int, int]]


def chain(count: int) -> Edges:
    return [(n - 1, n) for n in range(1, count)]


def layered(count: int, width: int = 20) -> Edges:
    return [(n - width, n) for n in range(width, count)] + [
        (n - width - n % width + (n + 1) % width, n) for n in range(width, count)
    ]


def workflow_of(count: int, edges: Edges) -> Workflow:
    nodes = {f"n{n}": {"type": "Total", "fields": {}} for n in range(count)}
    targets = {target for _, target in edges}
    nodes |= {f"n{n}": {"type": "Number", "fields": {"value": n}} for n in range(count) if n not in targets}
    wires = [{"from": f"n{a}.output", "to": f"n{b}.numbers"} for a, b in edges]
    return workflow_from_json({"format": "latentloom/1", "nodes": nodes, "wires": wires})


def seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def bare_loop(count: int, edges: Edges) -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    values: dict[int, int] = {}
    for node in nx.topological_sort(graph):
        values[node] = sum(values[before] for before in graph.predecessors(node)) % 1000


class Row(NamedTuple):
    """CPU microseconds per node of the parts of one run."""

    check: float
    """Validation and topological order."""
    keys: float
    """Cache keys, provenance, and a run folder with the workflow in it."""
    execute: float
    """Plan and execution, with typed events, the event log and the cache."""


class Meter:
    """Runs one workflow again and again."""

    def __init__(self, workflow: Workflow, folder: Path) -> None:
        self.workflow = workflow
        self.folder = folder

    def once(self, cache: Cache) -> Row:
        CALLS.clear()
        marks = [time.process_time()]
        workspace = Workspace(self.folder)
        assert not validate(self.workflow, PALETTE, workspace)
        graph = build_graph(self.workflow, PALETTE.types)
        marks.append(time.process_time())
        compute_keys(graph, OutsideReader(workspace, cache.digest), carried_document(self.workflow, PALETTE.types))
        record = RunFolder(self.folder / "out", self.workflow, {})
        around = RunEnvironment(cache, Emitter(record.listen), record)
        marks.append(time.process_time())
        execute(graph, graph.default_targets(), around)
        marks.append(time.process_time())
        record.close()
        return Row(*(1e6 * (end - start) / len(self.workflow.nodes) for start, end in itertools.pairwise(marks)))

    def best(self, cache: Cache) -> Row:
        rows = [self.once(cache) for _ in range(5)]
        assert not CALLS
        return Row(*(min(values) for values in zip(*rows, strict=True)))


def measure(count: int, edges: Edges) -> tuple[float, ...]:
    """Return microseconds per node: bare loop; check; keys; execution the first time, cached in memory, cached on disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meter = Meter(workflow_of(count, edges), folder)
        bare = min(seconds(lambda: bare_loop(count, edges)) for _ in range(3)) * 1e6 / count
        firsts: list[float] = []
        for number in range(3):
            cache = Cache(folder / f"cache{number}")
            firsts.append(meter.once(cache).execute)
            cached = meter.best(cache)
            cache.close()
        fresh = Cache(folder / "cache0")
        disk = meter.once(fresh).execute
        assert not CALLS
        fresh.close()
    return bare, cached.check, cached.keys, min(firsts), cached.execute, disk


PARTS = ("bare networkx loop", "check", "keys", "first execution", "cached in memory", "cached on disk")


def main() -> None:
    for count in (1000, 10_000):
        for name, edges in (("layered", layered(count)), ("chain", chain(count))):
            for part, value in zip(PARTS, measure(count, edges), strict=True):
                record(f"one of {count} nodes, {name}: {part}", value, "µs of CPU")


if __name__ == "__main__":
    main()
