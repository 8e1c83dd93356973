"""The command line `latentloom`: run, validate, plan, nodes, cache, inspect, serve."""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graph_runtime.arguments import parse_arguments
from graph_runtime.cache import Cache
from graph_runtime.discovery import load_palette
from graph_runtime.errors import DamagedCache, Problem, WorkflowError
from graph_runtime.migrate import migrated
from graph_runtime.overrides import apply_overrides
from graph_runtime.reports import cache_report, inspect_report, nodes_report
from graph_runtime.session import Prepared, cache_limit, check_device, default_cache_folder, prepare, run
from graph_runtime.workflow import read_workflow
from graph_runtime.workspace import Workspace

DONE, NODE_FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
SERVER = Path(__file__).resolve().parent.parent / "server.py"
REACH = "Copy it into the workspace, choose another --workspace, or name the path with --set."
STATUS = {"succeeded": DONE, "failed": NODE_FAILED, "interrupted": INTERRUPTED}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; every expected failure is one clear message."""
    options = parse_arguments(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # metadata may hold invalid Unicode, such as half a surrogate pair
        sys.stdout.reconfigure(errors="backslashreplace")
    commands = {
        "run": run_command,
        "validate": validate_command,
        "plan": plan_command,
        "nodes": lambda o: _show(nodes_report(o.name, as_json=o.json)),
        "cache": cache_command,
        "serve": lambda _: serve_command((sys.argv[1:] if arguments is None else arguments)[1:]),
        "inspect": lambda o: _show(inspect_report(Path(o.artifact), workflow=o.workflow, as_json=o.json)),
    }
    try:
        return commands[options.command](options)
    except WorkflowError as error:
        return _report(error, as_json=options.json)
    except DamagedCache as error:
        return _report(WorkflowError(Problem(str(error), remedy="Choose another with --cache.")), as_json=options.json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except OSError as error:
        print(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return NODE_FAILED


def _show(text: str) -> int:
    print(text)
    return DONE


def _report(error: WorkflowError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"message": str(error), "problems": [problem.to_json() for problem in error.problems]}))
    else:
        for problem in error.problems:
            print(problem, file=sys.stderr)
    return WRONG


@contextmanager
def _prepared(options: argparse.Namespace) -> Generator[tuple[Prepared, Cache]]:
    """Read, change, check and key the workflow, with the cache open."""
    palette = load_palette()
    for problem in palette.problems:
        print(problem, file=sys.stderr)
    workspace_root = Path(options.workspace)
    if not workspace_root.is_dir():
        raise WorkflowError(Problem(f"The workspace {workspace_root} is not a folder."))
    workflow = migrated(read_workflow(Path(options.file)), palette.types)
    workflow, trusted = apply_overrides(workflow, options.set, palette, workspace_root)
    workspace = Workspace(workspace_root, packages=palette.folders, trusted=tuple(trusted), remedy=REACH)
    with _cache(options) as cache:
        yield prepare(workflow, palette, workspace, cache, options.target), cache


@contextmanager
def _cache(options: argparse.Namespace) -> Generator[Cache]:
    """Open the cache that the options name; with --no-cache, an empty one that is gone afterwards."""
    if getattr(options, "no_cache", False):
        with tempfile.TemporaryDirectory(prefix="latentloom-", ignore_cleanup_errors=True) as folder:
            cache = Cache(Path(folder), cache_limit())
            yield cache
            cache.close()
        return
    cache = Cache(Path(options.cache) if options.cache else default_cache_folder(), cache_limit())
    try:
        yield cache
    finally:
        cache.close()


def run_command(options: argparse.Namespace) -> int:
    """Execute a workflow."""
    check_device(options.device)
    with _prepared(options) as (prepared, cache), _stop_on_signal() as stop, _listener(options) as listener:
        output = Path(options.output) if options.output else Path(options.workspace) / "outputs"
        finished = run(prepared, cache, output, device=options.device, listener=listener, stop_requested=stop)
    return STATUS[finished.status]


@contextmanager
def _listener(options: argparse.Namespace) -> Generator[Any]:
    if options.json:
        # a script counts the steps that this run makes; those of earlier runs are for curves
        yield lambda event: getattr(event, "earlier", False) or print(event.model_dump_json(), flush=True)
    else:
        from rich.console import Console

        from graph_runtime.display import Display

        with Display(Console(), resumable=not options.no_cache) as display:
            yield display.listen


@contextmanager
def _stop_on_signal() -> Generator[Any]:
    """Turn the first Ctrl-C into a request to stop, and the second into an interruption."""
    asked: list[int] = []

    def handle(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def validate_command(options: argparse.Namespace) -> int:
    """Print every problem of a workflow."""
    with _prepared(options) as (prepared, _):
        nodes = len(prepared.graph.workflow.nodes)
        warnings = list(prepared.graph.left_out.warnings())
    if options.json:
        print(json.dumps({"problems": [], "warnings": [warning.to_json() for warning in warnings]}))
    else:
        print("\n".join([f"{options.file}: {nodes} nodes, no problems.", *map(str, warnings)]))
    return DONE


def plan_command(options: argparse.Namespace) -> int:
    """Print which nodes would run and which would come from the cache."""
    with _prepared(options) as (prepared, cache):
        plan = prepared.plan(cache)
    warnings = list(prepared.graph.left_out.warnings())
    to_run = set(plan.to_run)
    states = {id: "run" if id in to_run else "cached" for id in plan.needed}
    states |= {id: "skipped" for id in prepared.graph.workflow.nodes if id not in states}
    if options.json:
        keys = {id: step.key for id, step in prepared.graph.steps.items()}
        rows = {id: {"state": state, "key": keys.get(id, "")} for id, state in states.items()}
        print(json.dumps({"targets": prepared.targets, "nodes": rows, "warnings": [each.to_json() for each in warnings]}))
    else:
        width = max(map(len, states), default=0)
        for id, state in states.items():
            print(f"{id:{width}}  {state:8}{prepared.graph.workflow.nodes[id].type}")
        print("\n".join(map(str, warnings)), end="\n" if warnings else "")
    return DONE


def cache_command(options: argparse.Namespace) -> int:
    """Show, shrink or empty the cache."""
    with _cache(options) as cache:
        if options.action == "prune":
            cache.prune(cache.max_bytes if options.max_gb is None else options.max_gb)
        elif options.action == "clear":
            cache.clear()
        return _show(cache_report(cache.info(), as_json=options.json))


def serve_command(arguments: list[str]) -> int:
    """Replace this process by the editor's server, started by its path so that the current folder cannot shadow a module."""
    command = [sys.executable, str(SERVER), *arguments]
    if os.name != "nt":  # on Windows exec starts a process that nobody waits for
        os.execv(sys.executable, command)
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())
