"""The notebooks run: their cells one after another in one namespace, as a notebook's kernel runs them."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.shell import ROOT

SMALLER = {
    "STEPS, PICTURES, INFERENCE_STEPS = 120, 60, 20": "STEPS, PICTURES, INFERENCE_STEPS = 2, 4, 2",
    "INFERENCE_STEPS = 20": "INFERENCE_STEPS = 2",
}


def execute(name: str) -> dict[str, Any]:
    """Run the code cells of a notebook; return what they leave."""
    cells = json.loads((ROOT / "docs" / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for text, smaller in SMALLER.items():
        code = code.replace(text, smaller)
    left: dict[str, Any] = {}
    exec(compile(code, name, "exec"), left)
    return left


def test_a_lora_is_trained_and_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    left = execute("train_lora.ipynb")
    assert len(left["losses"]) == 2
    assert all(0 < loss < 10 for loss in left["losses"])
    lora = load_file("line-style.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in lora.items() if "lora_up" in name)
    left = execute("merge_models.ipynb")
    own, merged, both = (load_file(f"{name}.safetensors") for name in ("merged", "between", "second"))
    changed = [name for name in both if not both[name].equal(merged[name])]
    assert changed
    assert all(own[name].equal(merged[name].half()) for name in changed)
    assert len(left["pictures"]) == 3


@pytest.mark.parametrize("name", ["train_lora.ipynb", "merge_models.ipynb"])
def test_notebooks_hold_no_outputs(name: str) -> None:
    cells = json.loads((ROOT / "docs" / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
