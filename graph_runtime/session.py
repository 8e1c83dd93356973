"""The steps from a workflow to a finished run, shared by command line and server."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from graph_runtime import events as ev
from graph_runtime.arguments import gigabytes
from graph_runtime.cache import DEFAULT_MAX_BYTES, Cache
from graph_runtime.context import Provenance
from graph_runtime.discovery import Palette, load_palette
from graph_runtime.emitter import Emitter, Listener
from graph_runtime.errors import Problem, WorkflowError, choice_of, did_you_mean
from graph_runtime.executor import Plan, RunEnvironment, execute, make_plan
from graph_runtime.graph import Graph, build_graph, compute_keys, digest_json
from graph_runtime.migrate import migrated
from graph_runtime.provenance import carried_document, library_versions
from graph_runtime.runs import RunFolder
from graph_runtime.subgraphs import expanded, expanded_ids
from graph_runtime.sweep_reading import read_sweeps
from graph_runtime.sweeps import swept
from graph_runtime.validation import validate
from graph_runtime.workflow import Workflow
from graph_runtime.workspace import OutsideReader, Workspace


def default_cache_folder() -> Path:
    """Return `LATENTLOOM_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("LATENTLOOM_CACHE") or platformdirs.user_cache_dir("latentloom"))


def cache_limit() -> int:
    """Return the cache's cap in bytes: `LATENTLOOM_CACHE_GB` times 10^9, else 20 GiB, which are 21.5 GB."""
    text = os.environ.get("LATENTLOOM_CACHE_GB", "")
    try:
        return gigabytes(text) if text else DEFAULT_MAX_BYTES
    except ValueError as error:
        remedy = "Set it to the size that the cache may have, as 20, or not at all."
        raise WorkflowError(Problem(f"LATENTLOOM_CACHE_GB is {text[:40]!r}: {error}.", remedy=remedy)) from None


def check_device(name: str) -> None:
    """Raise WorkflowError when the machine lacks a device; every machine has `auto` and `cpu`."""
    checks = () if name in ("auto", "cpu") else load_palette().device_checks
    for check in checks:
        try:
            check(name)
        except ValueError as error:
            problem = Problem(f"device {name} cannot be used: {error}", remedy=getattr(error, "remedy", ""))
            raise WorkflowError(problem) from None


@dataclass(frozen=True)
class Prepared:
    """A workflow that can run: its graph with keys, and the paths of its outside files."""

    workflow: Workflow
    """The given document with today's names; that of the graph is expanded: no subgraphs, and a copy for each swept value."""
    graph: Graph
    targets: list[str]
    files: OutsideReader
    provenance: Provenance

    def plan(self, cache: Cache) -> Plan:
        return make_plan(self.graph, self.targets, cache)


def prepare(workflow: Workflow, palette: Palette, workspace: Workspace, cache: Cache, targets: list[str]) -> Prepared:
    """Migrate, validate, order and key a workflow; raise WorkflowError naming every problem."""
    workflow = migrated(workflow, palette.types)
    if problems := validate(workflow, palette, workspace):
        raise WorkflowError(*problems)
    flat = expanded(workflow)
    meant = expanded_ids(workflow, targets)
    whole = swept(flat, read_sweeps(flat, palette.types).found, keep=[id for ids in meant.values() for id in ids])
    graph = build_graph(whole, palette.types)
    inner = {target: [id for id in ids if id in graph.steps] for target, ids in meant.items()}
    if missing := [_missing(id, ids, graph, workflow.nodes | flat.nodes) for id, ids in meant.items() if not inner[id]]:
        raise WorkflowError(*missing)
    if targets:
        wanted = graph.with_upstream([id for ids in inner.values() for id in ids])
        graph = replace(graph, left_out=graph.left_out.within(set(wanted)))
    files = OutsideReader(workspace, cache.digest)
    carried = carried_document(workflow, palette.types)
    compute_keys(graph, files, {"workflow": carried, "versions": library_versions()})
    inputs = {step.id: digest_json(step.fingerprint) for step in graph.steps.values() if step.fingerprint is not None}
    provenance = Provenance(carried, inputs, library_versions())
    targets = [id for ids in inner.values() for id in ids]
    return Prepared(workflow, graph, targets or graph.default_targets(), files, provenance)


def _missing(target: str, inside: list[str], graph: Graph, nodes: Collection[str]) -> Problem:
    if inside == [target] and target not in nodes:
        remedy = did_you_mean(target, nodes, choice_of("nodes", nodes))
        return Problem("this target is not in the workflow.", node=target, remedy=remedy)
    reasons = [reason for id in inside if (reason := graph.left_out.dropped.get(id))]
    if reasons:
        return Problem(f"this target does not run: {reasons[0]}.", node=target)
    return Problem("this target is muted or bypassed.", node=target, remedy="Make it active.")


def run(
    prepared: Prepared,
    cache: Cache,
    output: Path,
    *,
    device: str,
    listener: Listener,
    stop_requested: Callable[[], bool],
) -> ev.RunFinished:
    """Execute a prepared workflow, with a run folder below `output`."""
    folder = open_folder(prepared, output)
    return run_in(folder, prepared, cache, device=device, listener=listener, stop_requested=stop_requested)


def open_folder(
    prepared: Prepared,
    output: Path,
    earlier: str | None = None,
    first: int = 0,
    waiting: Callable[[], object] = lambda: None,
) -> RunFolder:
    """Make a run folder or open an earlier one; raise WorkflowError when the output folder is not writable."""
    versions = prepared.provenance.versions
    try:
        return RunFolder(output, prepared.workflow, versions, earlier=earlier, first=first, waiting=waiting)
    except OSError as error:
        raise WorkflowError(_unwritable(output, error)) from None


def run_in(
    folder: RunFolder,
    prepared: Prepared,
    cache: Cache,
    *,
    device: str,
    listener: Listener,
    stop_requested: Callable[[], bool],
) -> ev.RunFinished:
    """Execute a prepared workflow, log it in `folder`, and close that."""
    try:
        environment = RunEnvironment(
            cache=cache,
            emitter=Emitter(folder.listen, listener, first=folder.next_seq),
            publisher=folder,
            device=device,
            located=prepared.files.located,
            provenance=prepared.provenance,
            stop_requested=stop_requested,
            contents=prepared.files.contents,
        )
        return execute(prepared.graph, prepared.targets, environment, folder.name)
    finally:
        folder.close()


def _unwritable(output: Path, error: OSError) -> Problem:
    return Problem(
        f"The output folder {output} cannot be written: {error.strerror}.", remedy="Make it writable, or choose another."
    )
