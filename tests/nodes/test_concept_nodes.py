"""Class pictures, merged concepts, and words and concepts written and loaded again, as nodes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graph_runtime.cache import digest_file
from nodes.adapters.load_custom_diffusion import LoadCustomDiffusion
from nodes.adapters.load_embedding import LoadEmbedding
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel, text_identity
from nodes.diffusion.models.residency import RESIDENT
from nodes.diffusion.text.encoding import encode_prompts
from nodes.methods.generate_class_images import GenerateClassImages
from nodes.methods.merge_concepts import MergeConcepts
from nodes.output.save_custom_diffusion import SaveCustomDiffusion
from nodes.output.save_embedding import SaveEmbedding
from tests.diffusion.test_lora import forward
from tests.models import resident_parts, shared_model
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_methods import Setting, custom_diffusion, dreamartist, fine_tune, textual_inversion, with_word


def encoded(setting: Setting, model: DiffusionModel, prompt: str) -> torch.Tensor:
    loaded = shared_model(model, setting.bench.folder)
    with torch.no_grad(), apply_adapters(model.adapters, loaded):
        return encode_prompts(loaded, [prompt])["hidden"]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("layout", ["safetensors", "A1111", "diffusers"])
def test_a_saved_word_loads_back_the_same(tmp_path: Path, family: str, layout: Any) -> None:
    setting = Setting(tmp_path, family)
    trained = textual_inversion(setting, setting.context)
    if family == "sdxl" and layout == "A1111":
        with pytest.raises(InputError, match="SDXL"):
            SaveEmbedding(layout=layout).run(trained, setting.context)
        return
    (artifact,) = SaveEmbedding(filename="owl", layout=layout).run(trained, setting.context)
    assert artifact.name == ("owl.pt" if layout == "A1111" else "owl.safetensors")
    file = tmp_path / artifact.name
    file.write_bytes(artifact.file.read_bytes())
    context = replace(
        setting.context,
        located={**setting.context.located, digest_file(file): file},
        fingerprint={"file": digest_file(file), "name": "owl"},
    )
    loaded = LoadEmbedding(file="owl").run(setting.model, context)
    assert torch.equal(encoded(setting, loaded, "an owl here"), encoded(setting, trained, "an <new> here"))


def test_both_words_of_dreamartist_are_written(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    artifacts = SaveEmbedding(filename="lion", layout="A1111").run(dreamartist(setting, setting.context), setting.context)
    assert [artifact.name for artifact in artifacts] == ["lion.pt", "lion-neg.pt"]
    shapes = [torch.load(artifact.file, weights_only=True)["string_to_param"]["*"].shape for artifact in artifacts]
    assert shapes == [(3, 32), (6, 32)]


def test_a_model_without_words_is_refused(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    with pytest.raises(InputError, match="no new word"):
        SaveEmbedding().run(setting.model, setting.context)


def test_a_saved_concept_loads_back_the_same(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    trained = custom_diffusion(setting, setting.context)
    weights, word = SaveCustomDiffusion(filename="c.bin").run(trained, setting.context)
    assert (weights.name, word.name) == ("c.bin", "c-new.bin")
    digest = digest_file(weights.file)
    context = replace(setting.context, located={**setting.context.located, digest: weights.file}, fingerprint=digest)
    loaded = LoadCustomDiffusion(file="c.bin").run(setting.model, context)
    before, after = (load_file(model.adapters[0].weights) for model in (trained, loaded))
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with pytest.raises(InputError, match="no one custom diffusion"):
        SaveCustomDiffusion().run(fine_tune(setting, setting.context), setting.context)


@pytest.mark.parametrize("clip_skip", [0, 1])
def test_merged_concepts_act_as_each_alone_on_their_prompts(tmp_path: Path, clip_skip: int) -> None:
    setting = Setting(tmp_path, "sd1")
    setting.model = replace(setting.model, clip_skip=clip_skip)
    setting.embeddings = replace(setting.embeddings, text_digest=text_identity(setting.model))
    setting.prior["class_embeddings"] = setting.embeddings
    one = custom_diffusion(setting, setting.context)
    other = custom_diffusion(
        with_word(setting, "<two>"), setting.context, placeholder_token="<two>", initializer_token="b", seed=5
    )
    merged = MergeConcepts(prompts="<new>\n<two>").run([one, other], setting.bench.captions, setting.context)
    assert [adapter.label for adapter in merged.adapters] == ["merged concepts", "<new>", "<two>"]
    loaded = shared_model(setting.model, setting.bench.folder)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    for model, word in ((one, "<new>"), (other, "<two>")):
        text = encoded(setting, model, word)[0, 1:3]  # the word and the end of text
        with apply_adapters(model.adapters, loaded):
            alone = text @ loaded.unet.get_parameter(name).T
        with apply_adapters(merged.adapters, loaded):
            together = text @ loaded.unet.get_parameter(name).T
        assert torch.allclose(alone, together, atol=1e-2)
    assert not loaded.placeholders
    assert torch.isfinite(forward(loaded)).all()


@pytest.mark.parametrize(
    ("kind", "field"), [("same word", "models"), ("no prompt", "prompts"), ("no concept", "models"), ("another model", "models")]
)
def test_what_cannot_be_merged_is_refused(tmp_path: Path, kind: str, field: str) -> None:
    setting = Setting(tmp_path, "sd1")
    one = custom_diffusion(setting, setting.context)
    two = custom_diffusion(with_word(setting, "<two>"), setting.context, placeholder_token="<two>")
    others = {
        "same word": one,
        "no prompt": two,
        "no concept": fine_tune(setting, setting.context),
        "another model": replace(two, digest="other"),
    }
    prompts = "<new>" if kind == "no prompt" else "<new>\n<two>"
    with pytest.raises(InputError) as caught:
        MergeConcepts(prompts=prompts).run([one, others[kind]], setting.bench.captions, setting.context)
    assert caught.value.field == field
    assert caught.value.remedy


def test_class_pictures_come_captioned_and_are_drawn_once(tmp_path: Path) -> None:
    setting, runner = Setting(tmp_path, "sd1"), NodeRunner(tmp_path)
    context = replace(setting.context, store=runner.cache)
    node = GenerateClassImages(class_prompt="a dog\na cat", num_class_images=5, num_inference_steps=2, batch_size=2)
    drawn = node.run(setting.model, context)
    assert drawn.captions == (("a dog",), ("a cat",), ("a dog",), ("a cat",), ("a dog",))
    files = [picture.file for picture in drawn.pictures]
    assert len({picture.digest for picture in drawn.pictures}) == 5
    assert all(file and file.exists() for file in files)
    assert all(picture.digest == digest_file(picture.file) for picture in drawn.pictures if picture.file)
    RESIDENT.clear()
    again = node.run(setting.model, context)
    assert again == drawn
    assert not resident_parts()
    more = GenerateClassImages(class_prompt="a dog\na cat", num_class_images=6, num_inference_steps=2, batch_size=2).run(
        setting.model, context
    )
    assert more.pictures[:4] == drawn.pictures[:4]
    runner.cache.close()
