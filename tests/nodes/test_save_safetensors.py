"""SaveSafetensors: one LoRA, whole, the same bytes each time."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from graph_runtime.context import Provenance, RunContext
from graph_runtime.provenance import read_provenance
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.models import handle, make_model_folder, random_adapter

CARRIED = {"workflow": {"name": "größe"}, "inputs": {"b": "2", "a": "1"}, "versions": {"torch": "2"}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    root = tmp_path_factory.mktemp("save")
    folder = make_model_folder(root / "tiny", "sd1")
    return handle(folder, adapters=(random_adapter(folder, root / "w.safetensors", rank=4, alpha=2.0),))


def context(model: DiffusionModel) -> RunContext:
    return RunContext(located={model.digest: Path(model.digest)}, provenance=Provenance(**CARRIED))


def saved(model: DiffusionModel, **fields: Any) -> Path:
    (artifact,) = SaveSafetensors(**fields).run(model, context(model))
    return artifact.file


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return opened.metadata()


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_metadata_is_text_and_names_training_and_workflow(trained: DiffusionModel, layout: str) -> None:
    path = saved(trained, layout=layout, title="Line", trigger_phrase="flat style", date="2026-01-31")
    found = metadata(path)
    assert all(isinstance(value, str) for value in json.loads(json.dumps(found)).values())
    assert found["ss_steps"] == "7"
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("4", "2.0")
    assert found["modelspec.architecture"] == "custom-sd1-16-32/lora"
    assert (found["modelspec.title"], found["modelspec.trigger_phrase"]) == ("Line", "flat style")
    assert found["ss_output_name"] == "Line"
    assert found["modelspec.date"] == "2026-01-31"
    assert "modelspec.author" not in found
    assert read_provenance(path) == CARRIED
    assert ("lora_adapter_metadata" in found) == (layout == "diffusers")


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_precision_and_hash_are_those_of_the_tensors(trained: DiffusionModel, precision: str, dtype: torch.dtype) -> None:
    path = saved(trained, precision=precision)
    tensors = load_file(path)
    assert {tensor.dtype for name, tensor in tensors.items() if not name.endswith("alpha")} == {dtype}
    content = path.read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    digest = hashlib.sha256(data).hexdigest()
    assert metadata(path)["sshs_model_hash"] == digest
    assert metadata(path)["modelspec.hash_sha256"] == f"0x{digest}"


@pytest.mark.parametrize(
    ("filename", "name"), [("a", "a.safetensors"), ("a.safetensors", "a.safetensors"), ("v1.5", "v1.5.safetensors")]
)
def test_the_suffix_is_added_when_it_is_missing(trained: DiffusionModel, filename: str, name: str) -> None:
    (artifact,) = SaveSafetensors(filename=filename).run(trained, context(trained))
    assert artifact.name == name


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_names_of_files_and_clocks_are_not_in_the_bytes(trained: DiffusionModel, layout: str, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(trained.adapters[0].weights.read_bytes())
    other = replace(trained, adapters=(replace(trained.adapters[0], weights=moved),))
    first, second = saved(trained, layout=layout), saved(other, layout=layout, filename="other")
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path).encode() not in first.read_bytes()


SCRIPT = """
import sys
from pathlib import Path
from graph_runtime.context import Provenance, RunContext
from nodes.output.save_safetensors import SaveSafetensors
from tests.models import handle
from nodes.diffusion.handles.adapters import LowRankAdapter
exec(sys.argv[1])
"""


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(trained: DiffusionModel, tmp_path: Path) -> None:
    target = tmp_path / "other.safetensors"
    adapter = repr(trained.adapters[0]).replace("PosixPath", "Path")
    program = (
        f"model = handle(Path({trained.digest!r}), adapters=({adapter},))\n"
        f"context = RunContext(located={{model.digest: Path(model.digest)}}, provenance=Provenance(**{CARRIED!r}))\n"
        f"(artifact,) = SaveSafetensors().run(model, context)\n"
        f"Path({str(target)!r}).write_bytes(artifact.file.read_bytes())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "17"}
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", SCRIPT, program], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == saved(trained).read_bytes()


def refused(model: DiffusionModel, **fields: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        saved(model, **fields)
    assert caught.value.remedy
    return caught.value


def test_anything_but_one_trained_lora_is_refused(trained: DiffusionModel) -> None:
    (adapter,) = trained.adapters
    assert "no LoRA" in str(refused(replace(trained, adapters=())))
    assert "several" in str(refused(replace(trained, adapters=(adapter, adapter))))
    assert "not been trained" in str(refused(replace(trained, adapters=(replace(adapter, weights=None),))))


@pytest.mark.parametrize("value", [torch.nan, 1e6])
def test_what_is_not_finite_in_the_file_is_refused_by_name(trained: DiffusionModel, tmp_path: Path, value: float) -> None:
    (adapter,) = trained.adapters
    tensors = load_file(adapter.weights)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight"
    tensors[name][0, 0] = value
    save_file(tensors, tmp_path / "bad.safetensors")
    bad = replace(trained, adapters=(replace(adapter, weights=tmp_path / "bad.safetensors"),))
    error = refused(bad)
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight" in str(error)
    assert error.field == "precision"


@pytest.mark.parametrize("date", ["2026-02-30", "yesterday", "2026-1-1"])
def test_a_date_must_be_one(date: str) -> None:
    with pytest.raises(ValidationError):
        SaveSafetensors(date=date)
