"""Trainings that go on from a finished adapter: with its values, ranks and alphas, and to the same bytes when stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph_runtime.context import Provenance
from graph_runtime.errors import Interrupted
from nodes.adapters.load_embedding import LoadEmbedding
from nodes.adapters.load_hypernetwork import LoadHypernetwork
from nodes.adapters.load_lora import LoadLoRA
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import Hypernetwork, LowRankAdapter, TokenEmbedding, WeightChange
from nodes.methods.fine_tune import FineTune
from nodes.methods.train_hypernet import TrainHypernet
from nodes.methods.train_lora import TrainLoRA
from nodes.methods.train_ti import TrainTI
from nodes.output.save_embedding import SaveEmbedding
from nodes.output.save_hypernetwork import SaveHypernetwork
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora_deltas import family_adapter
from tests.nodes.node_runner import Messages
from tests.nodes.test_methods import QUICK, Setting
from tests.nodes.test_train_lora import StoppingReporter

STILL: dict[str, Any] = {"max_steps": 1, "batch_size": 2, "learning_rate": 1e-9}
"""A training that moves nothing that can be seen, so that its result is what it began with."""


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    made = Setting(tmp_path_factory.mktemp("on"), "sd1")
    made.context = replace(made.context, provenance=Provenance())
    return made


def loaded(setting: Setting, node: Any, file: Path, name: str = "x") -> Any:
    context = replace(setting.context, located={**setting.context.located, "file": file})
    context = replace(context, fingerprint={"file": "file", "name": name, "config": None})
    return node.run(setting.model, context)


def saved(setting: Setting, model: Any) -> dict[str, torch.Tensor]:
    (artifact,) = SaveSafetensors(precision="fp32").run(model, setting.context)
    return load_file(artifact.file)


def file_of(setting: Setting, algorithm: str, tmp_path: Path) -> Path:
    """A kohya file whose layers have ranks and alphas of their own."""
    adapter = family_adapter(setting.bench.folder, algorithm, tmp_path / "w")
    adapter = replace(adapter, text_encoder_targets=())
    kept = {name: tensor for name, tensor in load_file(tmp_path / "w").items() if name.startswith("unet.")}
    save_file(kept, tmp_path / "w")
    tensors = saved(setting, replace(setting.model, adapters=(adapter,)))
    alphas = sorted(name for name in tensors if name.endswith(".alpha"))
    for name in alphas[:3]:
        tensors[name] = torch.tensor(0.5)
    save_file(tensors, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


def train(setting: Setting, model: Any, context: Any = None, **fields: Any) -> Any:
    node = TrainLoRA(**{**QUICK, "max_steps": 2, **fields})
    return node.run(model, setting.latents, context or setting.context, setting.embeddings)


@pytest.mark.parametrize("algorithm", ["lora", "locon", "loha", "lokr", "dora"])
def test_a_lora_goes_on_with_the_ranks_and_alphas_that_it_has(setting: Setting, tmp_path: Path, algorithm: str) -> None:
    path = file_of(setting, algorithm, tmp_path)
    before, model = load_file(path), loaded(setting, LoadLoRA(file="x"), path)
    still = saved(setting, train(setting, model, **STILL))
    assert still.keys() == before.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(still[name], tensor, rtol=0, atol=1e-6, msg=name)
    moved = saved(setting, train(setting, model))
    assert {name: tensor.shape for name, tensor in moved.items()} == {name: tensor.shape for name, tensor in before.items()}
    same = {name for name, tensor in before.items() if torch.equal(moved[name], tensor)}
    assert same == {name for name in before if name.endswith(".alpha")}


def test_a_stopped_training_that_went_on_ends_with_the_same_bytes(setting: Setting, tmp_path: Path) -> None:
    model = loaded(setting, LoadLoRA(file="x"), file_of(setting, "locon", tmp_path))

    def run(reporter: StoppingReporter, folder: str) -> bytes:
        (tmp_path / folder).mkdir(exist_ok=True)
        context = replace(setting.context, reporter=reporter, progress_folder=tmp_path / folder)
        return train(setting, model, context, max_steps=4, checkpoint_every=1).adapters[-1].weights.read_bytes()

    whole = run(StoppingReporter(), "whole")
    with pytest.raises(Interrupted):
        run(StoppingReporter(2), "broken")
    assert run(StoppingReporter(), "broken") == whole


def test_layers_of_text_encoders_that_nothing_uses_stay_as_they_are(tmp_path: Path) -> None:
    """kohya's SDXL files hold the first encoder's last layer, which gets no gradient."""
    setting = Setting(tmp_path, "sdxl")
    setting.context = replace(setting.context, provenance=Provenance(), reporter=(told := Messages()))
    tensors: dict[str, torch.Tensor] = {}
    for encoder, width in (("te1", 16), ("te2", 16)):
        name = f"lora_{encoder}_text_model_encoder_layers_2_self_attn_q_proj"
        tensors |= {f"{name}.lora_down.weight": torch.ones(2, width), f"{name}.lora_up.weight": torch.ones(width, 2) * 0.1}
    save_file(tensors, tmp_path / "l.safetensors")
    model = loaded(setting, LoadLoRA(file="x"), tmp_path / "l.safetensors")
    trained = TrainLoRA(**QUICK).run(model, setting.latents, setting.context, captions=setting.captions)
    assert any("2 tensors stay as they are" in text for text in told.texts)
    after = saved(setting, trained)
    assert {name for name, tensor in tensors.items() if torch.equal(after[name], tensor)} == {n for n in tensors if "te1" in n}


def test_what_injectlora_attached_is_trained_over_a_loaded_lora(setting: Setting, tmp_path: Path) -> None:
    model = loaded(setting, LoadLoRA(file="x"), file_of(setting, "lora", tmp_path))
    new = LowRankAdapter(rank=2, alpha=2.0, unet_targets=model.adapters[0].unet_targets[:2])
    trained = train(setting, replace(model, adapters=(new, *model.adapters)))
    assert trained.adapters[0] == model.adapters[0]
    assert trained.adapters[1].unet_targets == new.unet_targets


def test_a_dora_with_a_strength_is_refused_before_it_is_trained(setting: Setting, tmp_path: Path) -> None:
    model = loaded(setting, LoadLoRA(file="x", unet_strength=0.5), file_of(setting, "dora", tmp_path))
    with pytest.raises(InputError, match="strength"):
        train(setting, model)


def test_a_word_goes_on_with_the_vectors_that_it_has(setting: Setting, tmp_path: Path) -> None:
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(8))
    save_file({"emb_params": vectors}, tmp_path / "w.safetensors")
    model = loaded(setting, LoadEmbedding(file="x", placeholder_token="<new>"), tmp_path / "w.safetensors")
    told = Messages()
    context = replace(setting.context, reporter=told)
    still, moved = (
        TrainTI(**fields, placeholder_token="<new>", initializer_token="two words").run(
            model, setting.latents, setting.captions, context
        )
        for fields in (STILL, QUICK)
    )
    assert any("3 vectors of <new>" in text for text in told.texts)
    (word,) = still.adapters
    assert isinstance(word, TokenEmbedding)
    assert (word.num_vectors, word.steps, word.start) == (3, 1, None)
    torch.testing.assert_close(load_file(word.weights)["text_encoder_0"], vectors, rtol=0, atol=1e-6)
    (artifact, *_) = SaveEmbedding().run(moved, setting.context)
    changed = load_file(artifact.file)["emb_params"]
    assert changed.shape == vectors.shape
    assert (changed - vectors).abs().max() > 1e-3


def test_a_hypernetwork_goes_on_with_the_structure_that_it_has(setting: Setting, tmp_path: Path) -> None:
    node = TrainHypernet(**QUICK, layer_structure="1, 2, 2, 1", activation_func="mish")
    first = node.run(setting.model, setting.latents, setting.embeddings, setting.context)
    (artifact,) = SaveHypernetwork().run(first, setting.context)
    model = loaded(setting, LoadHypernetwork(file="x", strength=0.5), artifact.file, "style")
    still, moved = (
        TrainHypernet(**fields).run(model, setting.latents, setting.embeddings, setting.context) for fields in (STILL, QUICK)
    )
    (net,) = still.adapters
    assert isinstance(net, Hypernetwork)
    assert (net.layer_structure, net.activation_func, net.steps, net.strength) == ((1, 2, 2, 1), "mish", 4, 1.0)
    before, after, changed = (load_file(one.adapters[-1].weights) for one in (first, still, moved))
    assert before.keys() == after.keys()
    assert all(torch.allclose(after[name], tensor, rtol=0, atol=1e-6) for name, tensor in before.items())
    assert max(float((changed[name] - tensor).abs().max()) for name, tensor in before.items()) > 1e-3


def test_a_fine_tuned_model_is_tuned_on(setting: Setting) -> None:
    first = FineTune(**QUICK).run(setting.model, setting.latents, setting.context, embeddings=setting.embeddings)
    still = FineTune(**STILL).run(first, setting.latents, setting.context, embeddings=setting.embeddings)
    before, after = (load_file(model.adapters[-1].weights) for model in (first, still))
    assert isinstance(still.adapters[-1], WeightChange)
    assert all(torch.allclose(after[name], tensor, rtol=0, atol=1e-5) for name, tensor in before.items())


def test_a_model_without_a_lora_has_nothing_to_train(setting: Setting) -> None:
    with pytest.raises(InputError, match="nothing to train") as caught:
        train(setting, setting.model)
    assert "LoadLoRA" in caught.value.remedy
