"""What holds for every method that trains weights or words: it learns, leaves its model alone, resumes to the same bytes."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graph_runtime.cache import Cache
from graph_runtime.context import RunContext
from graph_runtime.errors import Interrupted
from nodes import diffusion
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import KEYS_AND_VALUES, WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.handles.models import DiffusionModel, text_identity
from nodes.diffusion.models.residency import RESIDENT
from nodes.methods.fine_tune import FineTune
from nodes.methods.train_custom_diffusion import TrainCustomDiffusion
from nodes.methods.train_dreamartist import TrainDreamArtist
from nodes.methods.train_dreambooth import TrainDreamBooth
from nodes.methods.train_ti import TrainTI
from tests.diffusion.test_train import Bench, make_bench
from tests.models import handle, resident_parts, shared_model
from tests.nodes.node_runner import Messages
from tests.nodes.test_train_lora import StoppingReporter

FAMILIES = ["sd1", "sd2", "sdxl"]
QUICK = {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-2}
WORD = {"placeholder_token": "<new>", "initializer_token": "a"}


class Setting:
    """A small dataset, whose captions use a new word, and a model."""

    def __init__(self, folder: Path, family: str, *, in_channels: int = 4) -> None:
        self.bench: Bench = make_bench(folder, family, in_channels=in_channels)
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
    loaded = shared_model(setting.model, setting.bench.folder)
    modules = [loaded.unet, loaded.vae, *loaded.text_encoders]
    return {f"{n} {name}": tensor.clone() for n, part in enumerate(modules) for name, tensor in part.state_dict().items()}


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
    loaded = shared_model(setting.model, setting.bench.folder)
    untrained = [replace(adapter, weights=None) for adapter in trained.adapters]
    with apply_adapters(untrained, loaded) as first:
        for adapter, begun in zip(trained.adapters, first, strict=True):
            assert adapter.weights is not None
            ended = load_file(adapter.weights)
            assert ended.keys() == begun.keys()
            still = [name for name in ended if torch.equal(ended[name], begun[name].float())]
            assert not still
    assert not loaded.placeholders


@each_method
def test_a_stopped_or_shorter_training_goes_on_to_the_same_bytes(tmp_path: Path, method: Method) -> None:
    setting = Setting(tmp_path, "sd1")
    whole = trained_files(method(setting, setting.context))
    (tmp_path / "stopped").mkdir()
    (tmp_path / "shorter").mkdir()
    stopping = replace(setting.context, reporter=StoppingReporter(2), progress_folder=tmp_path / "stopped")
    with pytest.raises(Interrupted):
        method(setting, stopping)
    with closing(Cache(tmp_path / "cache")) as cache:
        shorter = replace(setting.context, store=cache, stem="s", progress_folder=tmp_path / "shorter")
        method(setting, shorter, max_steps=2)
        for context in (stopping, shorter):
            reporter = StoppingReporter()
            resumed = method(setting, replace(context, reporter=reporter))
            assert reporter.steps == [3]
            assert trained_files(resumed) == whole


@each_method
def test_parts_of_a_batch_equal_the_whole(tmp_path: Path, method: Method) -> None:
    setting = Setting(tmp_path, "sd2")
    whole = method(setting, setting.context, max_steps=1, batch_size=4)
    split = method(setting, setting.context, max_steps=1, batch_size=1, gradient_accumulation_steps=4)
    for one, other in zip(whole.adapters, split.adapters, strict=True):
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


@each_method
def test_previews_work_over_half_precision_weights(tmp_path: Path, method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are on a GPU: trained weights in full precision lie among frozen ones in half."""
    monkeypatch.setattr(diffusion, "resident_precision", lambda device, precision: precision)
    setting = Setting(tmp_path, "sd1")
    reporter = StoppingReporter()
    fields = {"precision": "bf16", "preview_every": 3, "preview_prompt": "<new>", "validation_fraction": 0.2}
    trained = method(setting, replace(setting.context, reporter=reporter), **fields)
    assert reporter.previews == 1
    for adapter in trained.adapters:
        assert adapter.weights is not None
        assert all(tensor.dtype == torch.float32 for tensor in load_file(adapter.weights).values())


def test_without_text_encoders_none_is_loaded(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sdxl")
    RESIDENT.clear()
    fine_tune(setting, setting.context)
    assert {name for _, name in resident_parts()} == {"unet"}


def test_a_model_without_signal_at_its_end_goes_on_being_trained_so(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd2")
    plain = trained_files(fine_tune(setting, setting.context))
    asked = trained_files(fine_tune(setting, setting.context, zero_terminal_snr=True))
    setting.model = replace(setting.model, zero_terminal_snr=True)
    assert trained_files(fine_tune(setting, setting.context)) == asked != plain


def test_words_are_trained_without_caption_dropout(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    setting.captions = replace(setting.captions, caption_dropout=0.9)
    messages = Messages()
    for seed in range(6):
        textual_inversion(setting, replace(setting.context, reporter=messages), seed=seed, batch_size=1, max_steps=1)
    assert any("not dropped" in text for text in messages.texts)


def test_cut_captions_are_told_of(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    setting.captions = replace(setting.captions, captions=(("<new> " + "word " * 40,),) * 5)
    messages = Messages()
    textual_inversion(setting, replace(setting.context, reporter=messages))
    assert any("too long and were cut" in text for text in messages.texts)


@pytest.mark.parametrize("learned", [True, False])
def test_the_start_token_trains_no_keys_and_values(tmp_path: Path, learned: bool) -> None:
    """Captions are equal in their first token; what it teaches keys and values would show in every picture."""
    setting = Setting(tmp_path, "sd1")
    loaded = shared_model(setting.model, setting.bench.folder)
    text = torch.zeros(1, 3, 32)
    text[0, 1 if learned else 0] = 1.0  # only this token reaches keys and values
    change = WeightChange(name="x", endings=KEYS_AND_VALUES, detach_start=True)
    with apply_adapters([change], loaded) as applied:
        for tensor in applied[0].values():
            tensor.requires_grad_(True)
        loaded.unet(torch.ones(1, 4, 8, 8), 5, text).sample.square().sum().backward()
        assert all((tensor.grad is not None and bool(tensor.grad.any())) == learned for tensor in applied[0].values())
    hooks = [name for name, module in loaded.unet.named_modules() if module._forward_hooks]
    assert not hooks


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
    "a known word as placeholder": (
        "placeholder_token",
        lambda s: textual_inversion(with_word(s, "a"), s.context, placeholder_token="a"),
    ),
    "several tokens as initializer": ("initializer_token", lambda s: textual_inversion(s, s.context, initializer_token="cat")),
    "captions without the placeholder": ("captions", lambda s: textual_inversion(s, s.context, placeholder_token="<other>")),
    "a word inside another": ("captions", lambda s: textual_inversion(with_word(s, "masks"), s.context, placeholder_token="sks")),
    "one caption without the word": (
        "captions",
        lambda s: textual_inversion(with_captions(s, "<new> 1", "<new> 2", "<new> 3", "<new> 4", "other"), s.context),
    ),
    "a word that is cut": (
        "captions",
        lambda s: textual_inversion(with_captions(s, *(["many words " * 10 + "<new>"] * 5)), s.context),
    ),
    "a word that is there already": (
        "placeholder_token",
        lambda s: TrainDreamArtist(**QUICK | WORD).run(textual_inversion(s, s.context), s.latents, s.captions, s.context),
    ),
    "an untrained adapter below": (
        "model",
        lambda s: FineTune().run(InjectLoRA().run(s.model, s.context), s.latents, s.context, embeddings=s.embeddings),
    ),
    "class captions with the new word": (
        "class_embeddings",
        lambda s: TrainCustomDiffusion(**QUICK | {"placeholder_token": "thing", "initializer_token": "a"}).run(
            s.model, s.latents, with_word(s, "thing").captions, s.context, **s.prior
        ),
    ),
    "no class pictures for a concept": (
        "class_latents",
        lambda s: TrainCustomDiffusion(**QUICK | WORD).run(s.model, s.latents, s.captions, s.context),
    ),
}


def with_captions(setting: Setting, *captions: str) -> Setting:
    setting.captions = replace(setting.captions, captions=tuple((caption,) for caption in captions))
    return setting


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
