"""The three laws, held against every node while the demo runs: inputs unchanged, same result twice, effects declared."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from graph_runtime import executor
from graph_runtime.codec import encode
from nodes.diffusion import loading
from tests.shell import run_small


def weights() -> dict[str, str]:
    """A hash of every tensor of every model in memory, and whether it is frozen."""
    found: dict[str, str] = {}
    for key, model in loading._resident.items():
        parts = {name: part for name, part in vars(model).items() if isinstance(part, torch.nn.Module | list)}
        for name, part in parts.items():
            for number, module in enumerate(part if isinstance(part, list) else [part]):
                if isinstance(module, torch.nn.Module):
                    for tensor_name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                        digest = hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()
                        found[f"{key} {name} {number} {tensor_name}"] = f"{digest} {tensor.requires_grad} {module.training}"
    return found


@pytest.fixture
def witness(monkeypatch) -> dict[str, list[str]]:
    """Watch every node: its inputs and the models in memory before and after; keep its result as text."""
    results: dict[str, list[str]] = {}
    original = executor._Run._call

    def call(self: Any, step: Any, folder: Path | None) -> Any:
        name_of = lambda path: path.name  # noqa: E731
        inputs = [self._argument(step, name, sources) for name, sources in step.inputs.items()]
        before, loaded = [encode(value, name_of) for value in inputs], weights()
        files = {path: path.read_bytes() for path in self.around.cache.folder.glob("files/*/*")}
        result = original(self, step, folder)
        assert [encode(value, name_of) for value in inputs] == before, step.id
        after = weights()
        assert {key: after[key] for key in loaded} == loaded, step.id
        assert not any(value.split()[1] == "True" for value in after.values()), step.id
        assert all(path.read_bytes() == content for path, content in files.items()), step.id
        results.setdefault(step.id, []).append(encode(result, name_of))
        return result

    monkeypatch.setattr(executor._Run, "_call", call)
    return results


def test_every_node_keeps_the_laws(witness: dict[str, list[str]], tmp_path: Path) -> None:
    outside = {path: path.stat().st_mtime_ns for path in Path("tests/data").rglob("*")}
    assert run_small(tmp_path / "one").status == 0
    loading._resident.clear()
    assert run_small(tmp_path / "two").status == 0
    assert len(witness) == 11
    for node, texts in witness.items():
        assert len(texts) == 2
        assert texts[0] == texts[1], node
    assert {path: path.stat().st_mtime_ns for path in Path("tests/data").rglob("*")} == outside
