"""Demand-driven topological execution: from the targets back to the nearest cached values, then forward."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from graph_runtime import events as ev, history
from graph_runtime.cache import MISS, Cache
from graph_runtime.context import Artifact, Provenance, RunContext
from graph_runtime.emitter import Emitter, NodeReporter
from graph_runtime.errors import Interrupted
from graph_runtime.failures import explained
from graph_runtime.graph import Graph
from graph_runtime.outside import Content, ContentChanged, Watch
from graph_runtime.steps import Source, Step

FROM_CACHE = ev.NodeOutcome(state="cached")


class Publisher(Protocol):
    """Receives finished files, previews and tracebacks."""

    def publish(self, artifact: Artifact, node: str, digest_of: Callable[[Path], str]) -> ev.PublishedArtifact: ...
    def keep_preview(self, node: str, step: int, file: Path) -> str: ...
    def keep_traceback(self, node: str, text: str) -> None: ...


@dataclass(frozen=True)
class RunEnvironment:
    """Everything that a run needs besides its graph."""

    cache: Cache
    emitter: Emitter
    publisher: Publisher
    device: str = "auto"
    located: Mapping[str, Path] = field(default_factory=dict[str, Path])
    provenance: Provenance = field(default_factory=Provenance)
    stop_requested: Callable[[], bool] = lambda: False
    contents: Mapping[str, Content] = field(default_factory=dict[str, Content])
    """The contents expected at `located`, to check for changes."""


@dataclass(frozen=True)
class Plan:
    """The nodes of a run: `needed` in order, `at_hand` with their values from the cache, and `to_run`."""

    targets: list[str]
    needed: list[str]
    at_hand: dict[str, Any]
    to_run: list[str]


def make_plan(graph: Graph, targets: list[str], cache: Cache) -> Plan:
    """Walk back from the targets; a cached node needs nothing upstream."""
    at_hand: dict[str, Any] = {}
    demanded, open_ = set[str](), list(targets)
    while open_:
        id = open_.pop()
        if id in demanded:
            continue
        demanded.add(id)
        step = graph.steps[id]
        found = cache.get(step.key, step.type.result)
        if found is not MISS:
            at_hand[id] = found
        else:
            open_ += [source.node for sources in step.inputs.values() for source in sources]
    to_run = [id for id in graph.steps if id in demanded and id not in at_hand]
    return Plan(targets, graph.with_upstream(targets), at_hand, to_run)


def execute(graph: Graph, targets: list[str], environment: RunEnvironment, run_name: str = "") -> ev.RunFinished:
    """Run what the targets need; return the last event, which holds every node's outcome."""
    plan = make_plan(graph, targets, environment.cache)
    environment.cache.flush()  # from now on other processes do not evict what this run uses
    run = _Run(graph, plan, environment, run_name)
    environment.emitter.emit(ev.RunStarted(run=run_name, workflow=graph.workflow.name, targets=targets, nodes=plan.needed))
    for warning in graph.left_out.warnings():
        text = f"{warning.field}: {warning.message}" if warning.field else warning.message
        environment.emitter.emit(ev.NodeMessage(node=warning.node, level="warning", text=text))
    finished = run.finish(run.walk())
    try:
        environment.cache.flush()
    finally:
        environment.emitter.emit(finished)
    return finished


class _Run:
    """The state of one execution."""

    def __init__(self, graph: Graph, plan: Plan, environment: RunEnvironment, name: str) -> None:
        self.name = name
        self.graph = graph
        self.plan = plan
        self.environment = environment
        self.values = dict(plan.at_hand)
        self.outcomes = {id: _skipped(reason) for id, reason in graph.left_out.dropped.items()}
        self.artifacts: list[ev.PublishedArtifact] = []
        self.made = set[str]()
        """The keys of the results that this run has computed."""
        self.uses = Counter(source.node for id in plan.to_run for source in _sources(graph.steps[id]))

    def walk(self) -> ev.RunStatus:
        """Visit the needed nodes in order and return how the run ended."""
        to_run = set(self.plan.to_run)
        targets = set(self.plan.targets)
        for id in self.plan.needed:
            if id not in to_run:
                self._serve_from_cache(id, is_target=id in targets)
                continue
            try:
                self._run_or_skip(self.graph.steps[id], is_target=id in targets)
            except (Interrupted, KeyboardInterrupt):
                return "interrupted"
        failed = any(outcome.state == "failed" for outcome in self.outcomes.values())
        return "failed" if failed else "succeeded"

    def finish(self, status: ev.RunStatus) -> ev.RunFinished:
        """Return the closing event; nodes that were not reached count as skipped."""
        stopped = set(self.plan.needed if status == "interrupted" else ())
        rest = {id: _skipped("the run was stopped" if id in stopped else "") for id in self.graph.workflow.nodes}
        nodes = {id: self.outcomes.get(id, otherwise) for id, otherwise in rest.items()}
        return ev.RunFinished(status=status, nodes=nodes, artifacts=self.artifacts)

    def _serve_from_cache(self, id: str, *, is_target: bool) -> None:
        try:
            if is_target:
                self._publish(id)
            self._warn(self.graph.steps[id])
            self._replay_history(self.graph.steps[id])
            self.outcomes[id] = FROM_CACHE
            self.environment.emitter.emit(ev.NodeFinished(node=id, state="cached", seconds=0.0))
        except OSError as error:
            self._failed(self.graph.steps[id], error, 0.0)
        self._free_if_unused(id)

    def _run_or_skip(self, step: Step, *, is_target: bool) -> None:
        if lacking := next((source.node for source in _sources(step) if source.node not in self.values), None):
            self.outcomes[step.id] = _skipped(self.outcomes[lacking].reason or f"{lacking} failed")
        else:
            started = time.perf_counter()
            self.environment.emitter.emit(ev.NodeStarted(node=step.id, node_type=step.type.name))
            self._warn(step)
            try:
                self.values[step.id] = self._result(step)
                if is_target:
                    self._publish(step.id)
                self._executed(step.id, time.perf_counter() - started)
            except (Interrupted, KeyboardInterrupt):
                raise
            except Exception as error:
                self.values.pop(step.id, None)
                self._failed(step, error, time.perf_counter() - started)
        for source in _sources(step):
            self.uses[source.node] -= 1
            self._free_if_unused(source.node)
        self._free_if_unused(step.id)

    def _result(self, step: Step) -> Any:
        """Return the node's result; reuse that of an equal node, or of another process (resumable nodes only)."""
        cache = self.environment.cache
        with self._progress_folder(step) as folder:
            found = cache.get(step.key, step.type.result) if folder or step.key in self.made else MISS
            if found is not MISS:
                self._replay_history(step)
                return found
            if folder:
                cache.flush()
            try:
                result = self._call(step, folder)
            except ContentChanged:
                cache.forget_progress(step.key)  # the state may come from the other content
                raise
            cache.put(step.key, result)
            self.made.add(step.key)
            if folder:
                history.keep_for(step.key, folder, cache)
                cache.flush()
                cache.forget_progress(step.key)
        return result

    @contextmanager
    def _progress_folder(self, step: Step) -> Generator[Path | None]:
        if not step.type.cls.resumable:
            yield None
            return
        with self.environment.cache.progress_folder(step.key, self._stop_if_asked) as folder:
            yield folder

    def _stop_if_asked(self) -> None:
        if self.environment.stop_requested():
            raise Interrupted

    def _call(self, step: Step, progress_folder: Path | None) -> Any:
        self._stop_if_asked()
        arguments = {name: self._argument(step, name, sources) for name, sources in step.inputs.items()}
        wired = {name: value for name, value in arguments.items() if step.type.inputs[name].is_field}
        node, watch = step.make_node(wired), Watch(self.environment.contents)
        if step.type.context_parameter:
            arguments[step.type.context_parameter] = self._context(step, progress_folder, watch)
        try:
            return node.run(**{name: value for name, value in arguments.items() if name not in wired})
        finally:
            watch.check()  # changed content may also be the cause of an error

    def _argument(self, step: Step, name: str, sources: list[Source]) -> Any:
        found = [self._output(source) for source in sources]
        return found if step.type.inputs[name].many else found[0]

    def _output(self, source: Source) -> Any:
        value = self.values[source.node]
        outputs = self.graph.steps[source.node].type.outputs
        return value if list(outputs) == ["output"] else getattr(value, source.output)

    def _reporter(self, step: Step) -> NodeReporter:
        return NodeReporter(self.environment.emitter, step.id, self.environment.publisher.keep_preview)

    def _warn(self, step: Step) -> None:
        for text in step.warnings:
            self._reporter(step).message(text, "warning")

    def _replay_history(self, step: Step) -> None:
        """Report metrics and previews of a cached node again; a resumed run has reported them already."""
        if step.type.cls.resumable and not self.environment.emitter.goes_on:
            history.replay_kept(step.key, self.environment.cache, self._reporter(step))

    def _context(self, step: Step, progress_folder: Path | None, watch: Watch) -> RunContext:
        environment, reporter = self.environment, self._reporter(step)
        return RunContext(
            device=environment.device,
            reporter=history.History(reporter, progress_folder, self.name) if progress_folder else reporter,
            store=environment.cache,
            located=environment.located,
            provenance=self._provenance(step),
            fingerprint=step.fingerprint,
            stem=step.stem,
            progress_folder=progress_folder,
            stop_requested=environment.stop_requested,
            watch=watch,
        )

    def _provenance(self, step: Step) -> Provenance:
        """Return the run's provenance with the inputs of this node alone."""
        made_by = self.environment.provenance
        if not step.type.cls.side_effects:
            return made_by
        upstream = self.graph.with_upstream([step.id])
        return replace(made_by, inputs={id: digest for id, digest in made_by.inputs.items() if id in upstream})

    def _publish(self, id: str) -> None:
        value = self.values[id]
        for artifact in value if isinstance(value, tuple) else (value,):
            if isinstance(artifact, Artifact):
                self.artifacts.append(self.environment.publisher.publish(artifact, id, self.environment.cache.digest_of))

    def _executed(self, id: str, seconds: float) -> None:
        self.outcomes[id] = ev.NodeOutcome(state="executed", seconds=round(seconds, 4))
        self.environment.emitter.emit(ev.NodeFinished(node=id, state="executed", seconds=round(seconds, 4)))

    def _failed(self, step: Step, error: Exception, seconds: float) -> None:
        self.outcomes[step.id] = ev.NodeOutcome(state="failed", seconds=round(seconds, 4))
        problem = explained(error, step)
        self.environment.publisher.keep_traceback(step.id, "".join(traceback.format_exception(error)))
        self.environment.emitter.emit(
            ev.NodeFailed(node=step.id, field=problem.field, message=problem.message, remedy=problem.remedy)
        )

    def _free_if_unused(self, id: str) -> None:
        if self.uses[id] <= 0:
            self.values.pop(id, None)


def _skipped(reason: str) -> ev.NodeOutcome:
    return ev.NodeOutcome(state="skipped", reason=reason)


def _sources(step: Step) -> Iterator[Source]:
    for sources in step.inputs.values():
        yield from sources
