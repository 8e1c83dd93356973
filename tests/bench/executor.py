"""Overhead of the runtime per trivial node: microseconds of CPU time beside a bare networkx loop, first run and fully cached.

python tests/bench/executor.py
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import networkx as nx

from graph_runtime.cache import Cache
from graph_runtime.context import Provenance
from graph_runtime.graph import build_graph, compute_keys
from graph_runtime.provenance import carried_document
from graph_runtime.session import Prepared, run
from graph_runtime.validation import validate
from graph_runtime.workflow import Workflow, workflow_from_json
from graph_runtime.workspace import OutsideReader, Workspace
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


class Meter:
    """CPU microseconds per node of one run: validating and ordering, then keys, plan and execution."""

    def __init__(self, workflow: Workflow, folder: Path) -> None:
        self.workflow = workflow
        self.folder = folder
        self.count = len(workflow.nodes)

    def once(self, cache: Cache) -> tuple[float, float]:
        CALLS.clear()
        began = time.process_time()
        workspace = Workspace(self.folder)
        assert not validate(self.workflow, PALETTE, workspace)
        graph = build_graph(self.workflow, PALETTE.types)
        checked = time.process_time()
        files = OutsideReader(workspace, cache.digest)
        compute_keys(graph, files, carried_document(self.workflow, PALETTE.types))
        prepared = Prepared(graph, graph.default_targets(), files, Provenance())
        quiet: Callable[[object], None] = lambda event: None  # noqa: E731
        run(prepared, cache, self.folder / "out", device="cpu", listener=quiet, stop_requested=lambda: False)
        done = time.process_time()
        return 1e6 * (checked - began) / self.count, 1e6 * (done - checked) / self.count

    def best(self, cache: Cache) -> tuple[float, float]:
        rows = [self.once(cache) for _ in range(5)]
        assert not CALLS
        return min(row[0] for row in rows), min(row[1] for row in rows)


def measure(count: int, edges: Edges) -> tuple[float, ...]:
    """Return microseconds per node: bare loop; validation; execution the first time, cached in memory, cached on disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meter = Meter(workflow_of(count, edges), folder)
        bare = min(seconds(lambda: bare_loop(count, edges)) for _ in range(3)) * 1e6 / count
        firsts = []
        for number in range(3):
            cache = Cache(folder / f"cache{number}")
            firsts.append(meter.once(cache)[1])
            validation, warm = meter.best(cache)
            cache.close()
        fresh = Cache(folder / "cache0")
        disk = meter.once(fresh)[1]
        assert not CALLS
        fresh.close()
    return bare, validation, min(firsts), warm, disk


def main() -> None:
    print("CPU microseconds per node  bare networkx loop  validation  first run  cached (memory)  cached (disk)")
    for count in (1000, 10_000):
        for name, edges in (("layered", layered(count)), ("chain", chain(count))):
            bare, validation, first, warm, disk = measure(count, edges)
            print(f"{name:8} {count:6} nodes {bare:22.1f} {validation:11.1f} {first:10.1f} {warm:16.1f} {disk:14.1f}")


if __name__ == "__main__":
    main()
