"""InjectLoRA and TrainLoRA as nodes: what they return, and what they refuse before any training starts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.context import RunContext, SilentReporter
from graph_runtime.errors import Interrupted
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.adapters.lora.apply import adapter_tensors
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import text_identity
from nodes.methods.train_lora import TrainLoRA
from tests.diffusion.test_train import Bench, make_bench
from tests.models import handle
from tests.nodes.node_runner import Messages

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


class StoppingReporter(SilentReporter):
    """Lets the person ask to stop after a step."""

    def __init__(self, stop_after: int = 0) -> None:
        self.stop_after = stop_after
        self.steps: list[int] = []
        self.validated: list[float] = []
        self.previews = 0

    def progress(self, step: int, total: int) -> None:
        self.steps.append(step)
        if step == self.stop_after:
            raise Interrupted

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.validated += [values["validation_loss"]] if "validation_loss" in values else []

    def preview(self, step: int, file: Path) -> None:
        self.previews += 1


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_stopping_nor_looking_changes_the_bytes(tmp_path: Path, family: str) -> None:
    """A stopped and resumed training, with previews, ends as an unbroken one without."""
    setting = Setting(tmp_path, family)
    fields = {
        "max_steps": 6,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "ema_decay": 0.9,
        "validation_fraction": 0.2,
        "validation_every": 2,
    }

    def train(reporter: StoppingReporter, folder: Path, **changes: Any) -> bytes:
        folder.mkdir(exist_ok=True)
        context = replace(setting.context, reporter=reporter, progress_folder=folder)
        node = TrainLoRA(**{**fields, **changes})
        return node.run(setting.inject(), setting.latents, context, setting.embeddings).adapters[0].weights.read_bytes()

    plain = StoppingReporter()
    whole = train(plain, tmp_path / "whole")
    assert len(plain.validated) == 3
    looking = {"preview_every": 3, "preview_prompt": "a cat", "checkpoint_every": 2}
    seen: list[StoppingReporter] = []
    for stop_after in (3, 5):
        seen.append(StoppingReporter(stop_after))
        with pytest.raises(Interrupted):
            train(seen[-1], tmp_path / "broken", **looking)
    seen.append(StoppingReporter())
    assert train(seen[-1], tmp_path / "broken", **looking) == whole
    assert [reporter.steps for reporter in seen] == [[1, 2, 3], [4, 5], [6]]
    assert seen[-1].previews == 1
    assert seen[-1].validated == plain.validated[-1:]


def test_a_second_adapter_is_trained_on_top_of_the_first_which_stays(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    first = setting.train(setting.inject())
    injected = InjectLoRA(rank=1, seed=3).run(first, setting.context)
    kept = first.adapters[0].weights.read_bytes()
    second = setting.train(injected)
    assert second.adapters[0] == first.adapters[0]
    assert first.adapters[0].weights.read_bytes() == kept
    alone = setting.train(InjectLoRA(rank=1, seed=3).run(setting.model, setting.context))
    assert alone.adapters[0].weights.read_bytes() != second.adapters[1].weights.read_bytes()


@pytest.mark.parametrize(("warm_up", "said"), [(1, False), (2, True), (100, True)])
def test_a_warm_up_that_the_training_does_not_survive_is_told(tmp_path: Path, warm_up: int, said: bool) -> None:
    setting, messages = Setting(tmp_path, "sd1"), Messages()
    node = TrainLoRA(max_steps=2, batch_size=2, lr_warmup_steps=warm_up)
    node.run(setting.inject(), setting.latents, replace(setting.context, reporter=messages), setting.embeddings)
    assert [f"The warm-up takes {warm_up} steps" in text for text in messages.texts] == [True] * said


def test_zero_terminal_snr_stays_with_the_model(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd2")
    node = TrainLoRA(max_steps=1, batch_size=2, zero_terminal_snr=True)
    trained = node.run(setting.inject(), setting.latents, setting.context, setting.embeddings)
    assert trained.zero_terminal_snr
    assert dict(trained.adapters[0].training)["ss_zero_terminal_snr"] == "True"


REFUSED: dict[str, tuple[str, Any]] = {
    "nothing to train": ("model", lambda s: s.train(s.model)),
    "two that are not trained": (
        "model",
        lambda s: s.train(replace(s.model, adapters=s.inject().adapters * 2)),
    ),
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
