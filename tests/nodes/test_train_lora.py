"""InjectLoRA and TrainLoRA as nodes: what they return, and what they refuse before any training starts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.context import RunContext
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.errors import InputError
from nodes.diffusion.lora import adapter_tensors
from nodes.diffusion.values import text_identity
from nodes.methods.train_lora import TrainLoRA
from tests.diffusion.test_train import Bench, make_bench
from tests.models import handle

FAMILIES = ["sd1", "sd2", "sdxl"]


class Setting:
    """A small dataset and model, and the two nodes on them."""

    def __init__(self, folder: Path, family: str) -> None:
        self.bench: Bench = make_bench(folder, family)
        self.model = handle(self.bench.folder)
        self.context = RunContext(device="cpu", located={self.model.digest: self.bench.folder})
        self.latents = replace(self.bench.latents, vae_digest=self.model.vae_digest)
        self.embeddings = replace(self.bench.embeddings, text_digest=text_identity(self.model))

    def inject(self, **fields: Any) -> Any:
        return InjectLoRA(**{"rank": 2, **fields}).run(self.model, self.context)

    def train(self, model: Any, **inputs: Any) -> Any:
        given = {"latents": self.latents, "embeddings": self.embeddings, **inputs}
        return TrainLoRA(max_steps=2, batch_size=2, learning_rate=1e-2).run(model, context=self.context, **given)


@pytest.fixture(params=FAMILIES)
def setting(request, tmp_path: Path) -> Setting:
    return Setting(tmp_path, request.param)


def test_a_trained_copy_comes_back_and_the_input_stays(setting: Setting) -> None:
    injected = setting.inject()
    trained = setting.train(injected)
    assert injected.adapters[0].weights is None
    assert len(adapter_tensors(trained.adapters[0])) == 2 * len(trained.adapters[0].unet_targets)
    facts = dict(trained.adapters[0].training)
    assert facts["ss_max_train_steps"] == "2"
    assert "thing 0" in facts["ss_tag_frequency"]
    assert all(isinstance(value, str) for value in facts.values())
    again = setting.train(setting.inject())
    assert again.adapters[0].weights.read_bytes() == trained.adapters[0].weights.read_bytes()


def test_text_encoders_are_trained_from_captions(setting: Setting) -> None:
    trained = setting.train(setting.inject(text_encoder=True), embeddings=None, captions=setting.bench.captions)
    names = adapter_tensors(trained.adapters[0])
    assert any(name.startswith("text_encoder_0.") for name in names)
    assert any(name.startswith("text_encoder_1.") for name in names) == (setting.model.family == "sdxl")


def test_zero_terminal_snr_stays_with_the_model(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd2")
    node = TrainLoRA(max_steps=1, batch_size=2, zero_terminal_snr=True)
    trained = node.run(setting.inject(), setting.latents, setting.context, setting.embeddings)
    assert trained.zero_terminal_snr
    assert dict(trained.adapters[0].training)["ss_zero_terminal_snr"] == "True"


REFUSED: dict[str, tuple[str, Any]] = {
    "nothing to train": ("model", lambda s: s.train(s.model)),
    "trained already": ("model", lambda s: s.train(s.train(s.inject()))),
    "no embeddings": ("embeddings", lambda s: s.train(s.inject(), embeddings=None)),
    "no captions for a text encoder": ("captions", lambda s: s.train(s.inject(text_encoder=True))),
    "embeddings of another encoder": (
        "embeddings",
        lambda s: s.train(s.inject(), embeddings=replace(s.embeddings, text_digest="other")),
    ),
    "latents of another VAE": ("latents", lambda s: s.train(s.inject(), latents=replace(s.latents, vae_digest="other"))),
    "other pictures": (
        "embeddings",
        lambda s: s.train(s.inject(), embeddings=replace(s.embeddings, items=s.embeddings.items[1:])),
    ),
    "layers that are not there": ("custom_targets", lambda s: s.inject(targets="custom", custom_targets="nothing")),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_work_is_refused_with_field_and_remedy(tmp_path: Path, kind: str) -> None:
    field, attempt = REFUSED[kind]
    with pytest.raises(InputError) as caught:
        attempt(Setting(tmp_path, "sd1"))
    assert caught.value.field == field
    assert caught.value.remedy
