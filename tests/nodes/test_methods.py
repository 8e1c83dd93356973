"""What holds for every method that trains weights or words: it learns, leaves its model alone, resumes to the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graph_runtime.context import RunContext
from graph_runtime.errors import Interrupted
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion import loading
from nodes.diffusion.errors import InputError
from nodes.diffusion.overlays import applied
from nodes.diffusion.values import CaptionedDataset, DiffusionModel, text_identity
from nodes.methods.fine_tune import FineTune
from nodes.methods.train_custom_diffusion import TrainCustomDiffusion
from nodes.methods.train_dreamartist import TrainDreamArtist
from nodes.methods.train_dreambooth import TrainDreamBooth
from nodes.methods.train_ti import TrainTI
from tests.diffusion.test_train import Bench, make_bench
from tests.models import handle
from tests.nodes.test_train_lora import StoppingReporter

FAMILIES = ["sd1", "sd2", "sdxl"]
QUICK = {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-2}
WORD = {"placeholder": "<new>", "initializer": "a"}


class Setting:
    """A small dataset, whose captions use a new word, and a model."""

    def __init__(self, folder: Path, family: str) -> None:
        self.bench: Bench = make_bench(folder, family)
        self.model = handle(self.bench.folder)
        self.context = RunContext(device="cpu", located={self.model.digest: self.bench.folder})
        self.latents = replace(self.bench.latents, vae_digest=self.model.vae_digest)
        self.embeddings = replace(self.bench.embeddings, text_digest=text_identity(self.model))
        said = tuple((f"<new> {number}",) for number in range(5))
        self.captions: CaptionedDataset = replace(self.bench.captions, captions=said)
        self.prior: dict[str, Any] = {"class_latents": self.latents, "class_embeddings": self.embeddings}


Method = Callable[..., DiffusionModel]


def fine_tune(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    return FineTune(**QUICK | fields).run(setting.model, setting.latents, context, embeddings=setting.embeddings)


def fine_tune_with_text(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    node = FineTune(**QUICK | {"text_encoder": True} | fields)
    return node.run(setting.model, setting.latents, context, captions=setting.captions)


def dreambooth(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    node = TrainDreamBooth(**QUICK | fields)
    return node.run(setting.model, setting.latents, context, embeddings=setting.embeddings, **setting.prior)


def dreambooth_lora(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    model = InjectLoRA(rank=2).run(setting.model, context)
    node = TrainDreamBooth(**QUICK | fields)
    return node.run(model, setting.latents, context, embeddings=setting.embeddings, **setting.prior)


def textual_inversion(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    return TrainTI(**QUICK | WORD | fields).run(setting.model, setting.latents, setting.captions, context)


def dreamartist(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    return TrainDreamArtist(**QUICK | WORD | fields).run(setting.model, setting.latents, setting.captions, context)


def custom_diffusion(setting: Setting, context: RunContext, **fields: Any) -> DiffusionModel:
    node = TrainCustomDiffusion(**QUICK | WORD | fields)
    return node.run(setting.model, setting.latents, setting.captions, context, **setting.prior)


METHODS: dict[str, Method] = {
    function.__name__: function
    for function in (
        fine_tune,
        fine_tune_with_text,
        dreambooth,
        dreambooth_lora,
        textual_inversion,
        dreamartist,
        custom_diffusion,
    )
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def weights(setting: Setting) -> dict[str, torch.Tensor]:
    """Every tensor of the model in memory."""
    loaded = loading.load(setting.model, setting.bench.folder, device=torch.device("cpu"))
    parts = [loaded.unet, loaded.vae, *loaded.text_encoders]
    return {f"{n} {name}": tensor.clone() for n, part in enumerate(parts) for name, tensor in part.state_dict().items()}


def trained_files(model: DiffusionModel) -> list[bytes]:
    return [adapter.weights.read_bytes() for adapter in model.adapters if adapter.weights]


@pytest.mark.parametrize("family", FAMILIES)
@each_method
def test_every_trained_tensor_moves_and_the_model_stays(tmp_path: Path, method: Method, family: str) -> None:
    setting = Setting(tmp_path, family)
    before = weights(setting)
    trained = method(setting, setting.context, gradient_accumulation_steps=2)
    after = weights(setting)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    loaded = loading.load(setting.model, setting.bench.folder, device=torch.device("cpu"))
    untrained = [replace(adapter, weights=None) for adapter in trained.adapters]
    with applied(untrained, loaded) as first:
        for adapter, begun in zip(trained.adapters, first, strict=True):
            assert adapter.weights is not None
            ended = load_file(adapter.weights)
            assert ended.keys() == begun.keys()
            still = [name for name in ended if torch.equal(ended[name], begun[name].float())]
            assert not still
    assert not loaded.words


@each_method
def test_a_stopped_training_ends_with_the_same_bytes(tmp_path: Path, method: Method) -> None:
    setting = Setting(tmp_path, "sd1")
    whole = trained_files(method(setting, setting.context))
    (tmp_path / "progress").mkdir()
    stopping = replace(setting.context, reporter=StoppingReporter(2), progress_folder=tmp_path / "progress")
    with pytest.raises(Interrupted):
        method(setting, stopping)
    reporter = StoppingReporter()
    resumed = method(setting, replace(stopping, reporter=reporter))
    assert reporter.steps == [3]
    assert trained_files(resumed) == whole


@each_method
def test_parts_of_a_batch_equal_the_whole(tmp_path: Path, method: Method) -> None:
    setting = Setting(tmp_path, "sd2")
    whole = method(setting, setting.context, max_steps=1, batch_size=4)
    parts = method(setting, setting.context, max_steps=1, batch_size=1, gradient_accumulation_steps=4)
    for one, other in zip(whole.adapters, parts.adapters, strict=True):
        assert one.weights is not None
        assert other.weights is not None
        again = load_file(other.weights)
        # Adam's first step has the gradient's sign alone, so only tensors with clear gradients can be compared
        agreeing = [
            torch.isclose(tensor, again[name], atol=1e-4).float().mean() for name, tensor in load_file(one.weights).items()
        ]
        assert torch.stack(agreeing).mean() > 0.97


@each_method
def test_bf16_and_previews_work(tmp_path: Path, method: Method) -> None:
    setting = Setting(tmp_path, "sd1")
    reporter = StoppingReporter()
    fields = {"precision": "bf16", "preview_every": 3, "preview_prompt": "<new>", "validation_fraction": 0.2}
    method(setting, replace(setting.context, reporter=reporter), **fields)
    assert reporter.previews == 1
    assert len(reporter.validated) == 1


REFUSED: dict[str, tuple[str, Callable[[Setting], Any]]] = {
    "no class pictures": (
        "class_latents",
        lambda s: TrainDreamBooth(**QUICK).run(s.model, s.latents, s.context, embeddings=s.embeddings),
    ),
    "no class captions": (
        "class_embeddings",
        lambda s: TrainDreamBooth(**QUICK).run(s.model, s.latents, s.context, embeddings=s.embeddings, class_latents=s.latents),
    ),
    "class latents of another VAE": (
        "class_latents",
        lambda s: TrainDreamBooth(**QUICK).run(
            s.model,
            s.latents,
            s.context,
            embeddings=s.embeddings,
            **s.prior | {"class_latents": replace(s.latents, vae_digest="other")},
        ),
    ),
    "text encoder without captions": (
        "captions",
        lambda s: FineTune(text_encoder=True).run(s.model, s.latents, s.context, embeddings=s.embeddings),
    ),
    "a known word as placeholder": ("placeholder", lambda s: textual_inversion(with_word(s, "a"), s.context, placeholder="a")),
    "several tokens as initializer": ("initializer", lambda s: textual_inversion(s, s.context, initializer="cat")),
    "captions without the placeholder": ("captions", lambda s: textual_inversion(s, s.context, placeholder="<other>")),
    "a word that is there already": (
        "placeholder",
        lambda s: TrainTI(**QUICK | WORD).run(textual_inversion(s, s.context), s.latents, s.captions, s.context),
    ),
    "an untrained adapter below": (
        "model",
        lambda s: FineTune().run(InjectLoRA().run(s.model, s.context), s.latents, s.context, embeddings=s.embeddings),
    ),
    "class captions with the new word": (
        "class_embeddings",
        lambda s: TrainCustomDiffusion(**QUICK | {"placeholder": "thing", "initializer": "a"}).run(
            s.model, s.latents, with_word(s, "thing").captions, s.context, **s.prior
        ),
    ),
    "no class pictures for a concept": (
        "class_latents",
        lambda s: TrainCustomDiffusion(**QUICK | WORD).run(s.model, s.latents, s.captions, s.context),
    ),
}


def with_word(setting: Setting, word: str) -> Setting:
    setting.captions = replace(setting.captions, captions=tuple((f"{word} {number}",) for number in range(5)))
    return setting


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_work_is_refused_with_field_and_remedy(tmp_path: Path, kind: str) -> None:
    field, attempt = REFUSED[kind]
    with pytest.raises(InputError) as caught:
        attempt(Setting(tmp_path, "sd1"))
    assert caught.value.field == field
    assert caught.value.remedy
