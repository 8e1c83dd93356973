"""Watches every node of a run: holds it to the three laws, and takes the fingerprint of its result."""

import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from graph_runtime import executor
from graph_runtime.cache import Cache, digest_file
from graph_runtime.codec import NotStorable, encode
from graph_runtime.context import Artifact
from graph_runtime.emitter import Emitter
from graph_runtime.steps import Step
from nodes.methods.costs import Costs
from tests.laws.fingerprints import Fingerprint
from tests.laws.memory import forget_models, weights
from tests.laws.writes import WRITES


@dataclass(frozen=True)
class Seen:
    """A node that has run: its class, its fields, the nodes before it, and the fingerprint of its result."""

    type: str
    fields: str
    sources: list[str]
    result: dict[str, Any]


class _Empty(Cache):
    """A cache without results; the costs of trainings are known to it, as they are measured once and never computed again."""

    def __init__(self, folder: Path, first: Cache) -> None:
        super().__init__(folder)
        self._first = first

    def find_item(self, key: str) -> Any:
        return self._first.find_item(key) if key.startswith("costs:") else super().find_item(key)


class _Nowhere:
    """Publishes nothing."""

    def publish(self, *_: Any) -> Any: ...
    def keep_traceback(self, *_: Any) -> None: ...
    def keep_preview(self, node: str, step: int, file: Path) -> str:
        return file.name


@dataclass
class Witness:
    """What was seen in a run, and which laws were broken in it."""

    nodes: dict[str, Seen] = field(default_factory=dict[str, Seen])
    broken: list[str] = field(default_factory=list[str])

    def watch(self, patch: pytest.MonkeyPatch) -> "Witness":
        """Stand between the executor and its nodes, each of which runs twice from now on."""
        forget_models()  # other tests of this process may have left some, large or trainable, and all are hashed
        original, keep = executor._Run._call, Costs.keep

        def same_everywhere(costs: Costs, *args: Any) -> None:
            costs.seconds, costs.peak_memory = 1.0, 2**20
            keep(costs, *args)

        patch.setattr(Costs, "keep", same_everywhere)
        patch.setattr(executor._Run, "_call", lambda run, step, folder: self._call(original, run, step, folder))
        return self

    def _call(self, original: Any, run: Any, step: Step, folder: Path | None) -> Any:
        inputs = [run._argument(step, name, sources) for name, sources in step.inputs.items()]
        before, loaded, files = text(inputs), weights(), _stamps(run.environment.cache.folder)
        with WRITES.outside(run.environment.cache.folder, run.environment.publisher.folder) as written:
            result = original(run, step, folder)
        again = self._second(original, run, step, keeps_progress=folder is not None)
        after, now = weights(), _stamps(run.environment.cache.folder)
        self._hold(step, written == [], f"wrote {written[:3]} outside the cache")
        self._hold(step, text(inputs) == before, "changed an input")
        self._hold(step, {key: after[key] for key in loaded} == loaded, "changed a model in memory")
        self._hold(step, not any(state.split()[1] == "True" for state in after.values()), "left a model in memory trainable")
        touched = [path for path, stamp in files.items() if now.get(path) != stamp]
        self._hold(step, all(path.stem == digest_file(path) for path in touched), "changed a file of another result")
        self._hold(step, text(result) == again, "gave another result for the same fields and inputs")
        saves = any(isinstance(each, Artifact) for each in (result if isinstance(result, tuple) else (result,)))
        self._hold(step, step.type.cls.side_effects or not saves, "saves a file and does not say so")
        self._see(run, step, result)
        return result

    def _hold(self, step: Step, is_kept: bool, what: str) -> None:
        if not is_kept:
            self.broken.append(f"{step.type.name} ({step.id}) {what}")

    def _second(self, original: Any, run: Any, step: Step, *, keeps_progress: bool) -> str:
        """Return the result of the same node with an empty cache, and no progress to go on from."""
        environment = run.environment
        with tempfile.TemporaryDirectory() as name:
            cache = _Empty(Path(name) / "cache", environment.cache)
            (progress := Path(name) / "progress").mkdir()
            run.environment = replace(environment, cache=cache, emitter=Emitter(), publisher=_Nowhere())
            try:
                return text(original(run, step, progress if keeps_progress else None))
            finally:
                run.environment = environment
                cache.close()

    def _see(self, run: Any, step: Step, result: Any) -> None:
        print_ = Fingerprint(frozenset(run.environment.located)).add(result)
        fields = step.node.model_dump_json() if step.node else json.dumps(step.fields, sort_keys=True)
        sources = sorted({source.node for sources in step.inputs.values() for source in sources})
        self.nodes[step.id] = Seen(step.type.name, fields, sources, print_.to_json())


def text(value: Any) -> str:
    """Return the JSON form of a value, its files named by their content."""
    try:
        return encode(value, lambda path: path.name)
    except NotStorable:
        return repr(value)


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (stat.st_mtime_ns, stat.st_size) for path in folder.glob("files/*/*") for stat in [path.stat()]}
