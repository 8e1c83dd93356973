"""Overhead of the runtime per trivial node: microseconds of CPU time beside a bare networkx loop, first run and fully cached.

python tests/bench/executor.py
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import networkx as nx

from graph_runtime.cache import Cache
from graph_runtime.session import prepare, run
from graph_runtime.workflow import Workflow, workflow_from_json
from graph_runtime.workspace import Workspace
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


def measure(count: int, edges: Edges) -> tuple[float, float, float, float]:
    """Return microseconds per node of: bare loop, first run, warm re-run, re-run from the disk by a fresh cache."""
    workflow = workflow_of(count, edges)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def once(cache: Cache) -> None:
            CALLS.clear()
            prepared = prepare(workflow, PALETTE, Workspace(folder), cache, [])
            quiet: Callable[[object], None] = lambda event: None  # noqa: E731
            run(prepared, cache, folder / "out", device="cpu", listener=quiet, stop_requested=lambda: False)

        bare = min(seconds(lambda: bare_loop(count, edges)) for _ in range(3))
        cache = Cache(folder / "cache")
        first, warm = seconds(lambda: once(cache)), min(seconds(lambda: once(cache)) for _ in range(3))
        assert not CALLS
        cache.close()
        fresh = Cache(folder / "cache")
        disk = seconds(lambda: once(fresh))
        assert not CALLS
        fresh.close()
    return tuple(1e6 * value / count for value in (bare, first, warm, disk))  # type: ignore[return-value]


def main() -> None:
    print("microseconds per node     bare loop  first run  cached (memory)  cached (disk)")
    for count in (1000, 10_000):
        for name, edges in (("layered", layered(count)), ("chain", chain(count))):
            bare, first, warm, disk = measure(count, edges)
            print(f"{name:8} {count:6} nodes {bare:16.1f} {first:10.1f} {warm:16.1f} {disk:14.1f}")


if __name__ == "__main__":
    main()
