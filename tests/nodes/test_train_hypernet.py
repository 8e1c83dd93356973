"""TrainHypernet, LoadHypernetwork and SaveHypernetwork as nodes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from graph_runtime.context import Provenance, RunContext
from graph_runtime.errors import Interrupted
from graph_runtime.provenance import read_provenance
from nodes.adapters.inject_lora import InjectLoRA
from nodes.adapters.load_hypernetwork import LoadHypernetwork
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import text_identity
from nodes.methods.train_hypernet import TrainHypernet
from nodes.output.save_hypernetwork import SaveHypernetwork
from nodes.sampling.sample_images import SampleImages
from tests.diffusion.test_train import Bench, make_bench
from tests.models import handle
from tests.nodes.test_train_lora import StoppingReporter

FAMILIES = ["sd1", "sd2", "sdxl"]
DROPPING = {"layer_structure": "1, 2, 2, 1", "dropout_structure": "0, 0.3, 0.3, 0", "activation_func": "mish"}


class Setting:
    """A small dataset and model, and the node on them."""

    def __init__(self, folder: Path, family: str) -> None:
        self.bench: Bench = make_bench(folder, family)
        self.model = handle(self.bench.folder)
        self.context = RunContext(device="cpu", located={self.model.digest: self.bench.folder})
        self.latents = replace(self.bench.latents, vae_digest=self.model.vae_digest)
        self.embeddings = replace(self.bench.embeddings, text_digest=text_identity(self.model))

    def train(self, model: Any = None, context: Any = None, **fields: Any) -> Any:
        node = TrainHypernet(**{"max_steps": 2, "batch_size": 2, "learning_rate": 1e-2, **fields})
        return node.run(model or self.model, self.latents, self.embeddings, context or self.context)

    def save(self, model: Any, name: str = "style") -> Any:
        (artifact,) = SaveHypernetwork(filename=name).run(model, self.context)
        return artifact

    def load(self, file: Path, **fields: Any) -> Any:
        located = {**self.context.located, "file": file}
        context = replace(self.context, located=located, fingerprint={"file": "file", "name": file.stem})
        return LoadHypernetwork(file=file.name, **fields).run(self.model, context)

    def pixels(self, *models: Any) -> list[bytes]:
        from PIL import Image

        drawn = SampleImages(prompts="x", num_inference_steps=2, guidance_scale=2).run(list(models), self.context)
        return [Image.open(image.file).tobytes() for image in drawn.images]


@pytest.fixture(params=FAMILIES)
def setting(request, tmp_path: Path) -> Setting:
    return Setting(tmp_path, request.param)


def test_trained_saved_and_loaded_it_draws_the_same(setting: Setting, tmp_path: Path) -> None:
    trained = setting.train(activation_func="mish", learning_rate=0.1)
    assert trained.adapters[0].steps == 2
    assert not setting.model.adapters
    again = setting.train(activation_func="mish", learning_rate=0.1)
    assert again.adapters[0].weights.read_bytes() == trained.adapters[0].weights.read_bytes()
    artifact = setting.save(trained, "style.v1.pt")
    assert artifact.name == "style.v1.pt"
    assert setting.save(again, "style.v1").file.read_bytes() == artifact.file.read_bytes()
    loaded, off = setting.load(artifact.file), setting.load(artifact.file, strength=0)
    assert text_identity(loaded) == text_identity(setting.model)
    base, with_trained, with_loaded, switched_off = setting.pixels(setting.model, trained, loaded, off)
    assert with_trained == with_loaded != base
    assert switched_off == base


def test_the_file_says_what_made_it(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    carried = Provenance(workflow={"nodes": {"träin": {}}}, inputs={}, versions={})
    setting.context = replace(setting.context, provenance=carried)
    artifact = setting.save(setting.train())
    assert read_provenance(artifact.file) == json.loads(carried.text())
    (tmp_path / "cut.pt").write_bytes(artifact.file.read_bytes()[:-100])
    assert read_provenance(tmp_path / "cut.pt") is None
    assert read_provenance(_written(tmp_path / "other.pt", {"optional_info": 3})) is None


def test_half_precision_takes_part(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    trained = setting.train(is_layer_norm=True)
    node = SampleImages(prompts="x", num_inference_steps=2, precision="bf16")
    assert len(node.run([trained], setting.context).images) == 1
    assert setting.train(precision="bf16").adapters[0].weights


def test_it_trains_over_a_lora(tmp_path: Path) -> None:
    from nodes.methods.train_lora import TrainLoRA

    setting = Setting(tmp_path, "sd1")
    injected = InjectLoRA(rank=2).run(setting.model, setting.context)
    node = TrainLoRA(max_steps=2, batch_size=2, learning_rate=1e-1)
    with_lora = node.run(injected, setting.latents, setting.context, setting.embeddings)
    both = setting.train(with_lora, learning_rate=0.1)
    assert both.adapters[0] == with_lora.adapters[0]
    alone = replace(both, adapters=both.adapters[1:])
    assert len(set(setting.pixels(setting.model, with_lora, alone, both))) == 4
    swapped = replace(both, adapters=both.adapters[::-1])
    assert setting.pixels(swapped) == setting.pixels(both)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_training_ends_with_the_same_bytes(tmp_path: Path, family: str) -> None:
    setting = Setting(tmp_path, family)
    fields = {**DROPPING, "max_steps": 6, "validation_fraction": 0.2, "validation_every": 2, "gradient_accumulation_steps": 2}

    def train(reporter: StoppingReporter, folder: Path, **changes: Any) -> bytes:
        folder.mkdir(exist_ok=True)
        context = replace(setting.context, reporter=reporter, progress_folder=folder)
        return setting.train(context=context, **{**fields, **changes}).adapters[0].weights.read_bytes()

    whole = train(StoppingReporter(), tmp_path / "whole")
    looking = {"preview_every": 3, "preview_prompt": "a cat", "checkpoint_every": 2}
    for stop_after in (3, 5):
        with pytest.raises(Interrupted):
            train(StoppingReporter(stop_after), tmp_path / "broken", **looking)
    assert train(StoppingReporter(), tmp_path / "broken", **looking) == whole
    assert train(StoppingReporter(), tmp_path / "other", dropout_structure="") != whole


REFUSED: dict[str, tuple[str, Any]] = {
    "dropout of another length": ("dropout_structure", lambda s: s.train(dropout_structure="0, 0.1")),
    "dropout at the end": ("dropout_structure", lambda s: s.train(dropout_structure="0, 0.1, 0.1")),
    "embeddings of another encoder": ("embeddings", lambda s: s.train(replace(s.model, text_digest="other"))),
    "latents of another VAE": ("latents", lambda s: s.train(replace(s.model, vae_digest="other"))),
    "something untrained below": ("model", lambda s: s.train(InjectLoRA(rank=2).run(s.model, s.context))),
    "nothing to save": ("model", lambda s: s.save(s.model)),
    "two to save": ("model", lambda s: s.save(replace(s.model, adapters=s.train().adapters * 2))),
    "a hypernetwork of another model": (
        "file",
        lambda s: s.load(_written(s.bench.folder / "other.pt", {768: ({}, {})})),
    ),
}


def _written(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_work_is_refused_with_field_and_remedy(tmp_path: Path, kind: str) -> None:
    field, attempt = REFUSED[kind]
    with pytest.raises(InputError) as caught:
        attempt(Setting(tmp_path, "sd1"))
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {"layer_structure": "2, 1"},
        {"layer_structure": "1, 2"},
        {"layer_structure": "1"},
        {"layer_structure": ""},
        {"layer_structure": "1, x, 1"},
        {"layer_structure": "1, nan, 1"},
        {"layer_structure": "1, 0, 1"},
        {"dropout_structure": "0, 1, 0"},
        {"dropout_structure": "0, -1, 0"},
        {"dropout_structure": "0; 0"},
    ],
)
def test_structures_that_are_none_are_refused_while_they_are_typed(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TrainHypernet(**fields)
