"""The nodes of aesthetic gradients: built, saved, loaded, applied to a model, sampled with."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from nodes.adapters.apply_aesthetic_gradient import ApplyAestheticGradient
from nodes.adapters.load_aesthetic_embedding import LoadAestheticEmbedding
from nodes.diffusion.errors import InputError
from nodes.diffusion.pictures import clip_image_embeddings
from nodes.diffusion.pictures.pictures import open_picture
from nodes.methods.build_aesthetic_embedding import BuildAestheticEmbedding
from nodes.models.load_model import LoadModel
from nodes.output.save_aesthetic_embedding import SaveAestheticEmbedding
from nodes.sampling.sample_images import SampleImages
from tests.models import BUNDLED, handle, make_model_folder
from tests.nodes.node_runner import NodeRunner, images


@pytest.fixture
def pictures(runner: NodeRunner) -> Any:
    for name in ("a.png", "b.png", "c.png"):
        runner.picture(f"p/{name}")
    return images(runner)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a text projection, and beside it the whole CLIP that it was made with."""
    root = tmp_path_factory.mktemp("tiny")
    make_model_folder(root / "model", "sd1")
    text = CLIPTextModelWithProjection.from_pretrained(root / "model" / "text_encoder").config.to_dict()
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**size, "image_size": 32, "patch_size": 16, "projection_dim": 24}
    torch.manual_seed(3)
    whole = CLIPModel(CLIPConfig(text_config={**text, "projection_dim": 24}, vision_config=vision, projection_dim=24))
    whole.save_pretrained(root / "clip")
    CLIPImageProcessor(size=32, crop_size=32).save_pretrained(root / "clip")
    CLIPTokenizer.from_pretrained(root / "model" / "tokenizer").save_pretrained(root / "clip")
    return root


@pytest.fixture
def home(runner: NodeRunner, tiny: Path) -> NodeRunner:
    """A workspace that holds the small model and its CLIP."""
    shutil.copytree(tiny / "clip", runner.root / "clip")
    shutil.copytree(tiny / "model", runner.root / "model")
    return runner


def vector(value: Any) -> torch.Tensor:
    return load_file(value.file)["aesthetic_embedding"]


def test_the_embedding_is_the_mean_of_image_features(runner: NodeRunner, pictures: Any) -> None:
    built = runner.run(BuildAestheticEmbedding(), images=pictures, model=runner.run(LoadModel()))
    vision = CLIPVisionModelWithProjection.from_pretrained(BUNDLED / "image_encoder", dtype=torch.float32)
    prepare = CLIPImageProcessor.from_pretrained(BUNDLED / "feature_extractor")
    shown = [open_picture(runner.root / "p" / f"{name}.png").resize((32, 32), 1) for name in "abc"]
    with torch.no_grad():
        wanted = vision(prepare(shown, return_tensors="pt")["pixel_values"]).image_embeds.mean(dim=0)
    assert vector(built).shape == (1, 192)
    assert vector(built).dtype == torch.float32
    assert built.width == 192
    assert torch.nn.functional.cosine_similarity(vector(built)[0], wanted, dim=0) > 0.99
    assert vector(built).norm() == pytest.approx(wanted.norm().item(), rel=0.1)
    assert abs(vector(built).norm() - 1) > 1
    by_name = runner.run(BuildAestheticEmbedding(clip="loom-emoji"), images=pictures)
    assert torch.equal(vector(by_name), vector(built))


def test_each_picture_is_looked_at_once(runner: NodeRunner, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = runner.run(BuildAestheticEmbedding(clip="loom-emoji"), images=pictures)
    seen: list[Any] = []
    original = clip_image_embeddings.clip_pixels
    monkeypatch.setattr(clip_image_embeddings, "clip_pixels", lambda *args: (seen.append(1), original(*args))[1])
    again = runner.run(BuildAestheticEmbedding(clip="loom-emoji"), images=pictures)
    assert not seen
    assert torch.equal(vector(first), vector(again))
    runner.picture("p/d.png")
    runner.run(BuildAestheticEmbedding(clip="loom-emoji"), images=images(runner))
    assert len(seen) == 1


@pytest.mark.parametrize("layout", ["A1111", "safetensors"])
def test_files_are_bare_repeatable_and_read_back(runner: NodeRunner, pictures: Any, layout: Any) -> None:
    built = runner.run(BuildAestheticEmbedding(clip="loom-emoji"), images=pictures)
    node = SaveAestheticEmbedding(filename="v1.2 look", layout=layout)
    (artifact,), (other,) = runner.run(node, embedding=built), runner.run(node, embedding=built)
    suffix = {"A1111": ".pt", "safetensors": ".safetensors"}[layout]
    assert artifact.name == f"v1.2 look{suffix}"
    assert artifact.file.read_bytes() == other.file.read_bytes()
    if layout == "A1111":
        content = torch.load(artifact.file, weights_only=True)
        assert type(content) is torch.Tensor
    else:
        (content,) = load_file(artifact.file).values()
    assert content.dtype == torch.float32
    assert torch.equal(content, vector(built))
    (runner.root / f"look{suffix}").write_bytes(artifact.file.read_bytes())
    loaded = runner.run(LoadAestheticEmbedding(file=f"look{suffix}"))
    assert loaded.width == 192
    assert torch.equal(vector(loaded), vector(built))


def test_known_suffixes_are_not_doubled(runner: NodeRunner, pictures: Any) -> None:
    built = runner.run(BuildAestheticEmbedding(clip="loom-emoji"), images=pictures)
    (artifact,) = runner.run(SaveAestheticEmbedding(filename="x.safetensors"), embedding=built)
    assert artifact.name == "x.pt"


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(1, 8),
        torch.ones(2, 8),
        torch.tensor([float("nan")] * 8),
        {"a": 1},
        [1],
        torch.tensor(3.0),
        torch.ones(8).int(),
    ],
    ids=["zero", "two rows", "nan", "no tensor", "list", "number", "integers"],
)
def test_other_files_are_refused(runner: NodeRunner, content: Any) -> None:
    torch.save(content, runner.root / "bad.pt")
    with pytest.raises(InputError) as caught:
        runner.run(LoadAestheticEmbedding(file="bad.pt"))
    assert caught.value.field == "file"
    assert caught.value.remedy


def test_code_and_damage_are_refused(runner: NodeRunner) -> None:
    torch.save(Path("x"), runner.root / "code.pt")
    (runner.root / "damaged.safetensors").write_bytes(b"nothing")
    for name in ("code.pt", "damaged.safetensors", "missing.pt"):
        with pytest.raises(InputError):
            runner.run(LoadAestheticEmbedding(file=name))


def test_one_dimension_is_read_too(runner: NodeRunner) -> None:
    torch.save(torch.ones(8).half(), runner.root / "flat.pt")
    loaded = runner.run(LoadAestheticEmbedding(file="flat.pt"))
    assert torch.equal(vector(loaded), torch.ones(1, 8))


def test_drawing_tells_the_cosine_and_differs(runner: NodeRunner, pictures: Any) -> None:
    base = runner.run(LoadModel())
    built = runner.run(BuildAestheticEmbedding(), images=pictures, model=base)
    model = runner.run(ApplyAestheticGradient(steps=2), model=base, embedding=built)
    assert base.adapters == ()
    node = SampleImages(prompts="red apple\nred apple", num_inference_steps=1, width=32, height=32)
    plain, tuned = runner.run(node, models=[base]), runner.run(node, models=[model])
    (told,) = runner.messages.texts
    before, after = map(float, re.findall(r"-?0\.\d+", told))
    assert "mean of 1 prompts" in told
    assert after > before
    assert plain.images[0].file.read_bytes() != tuned.images[0].file.read_bytes()
    assert tuned.images[0].label == "loom-emoji + aesthetic, 2 steps"
    assert runner.run(node, models=[base]).images[0].file.read_bytes() == plain.images[0].file.read_bytes()


def test_the_projection_of_a_whole_clip_is_used(home: NodeRunner, pictures: Any) -> None:
    built = home.run(BuildAestheticEmbedding(clip="clip"), images=pictures)
    assert built.width == 24
    base = home.run(LoadModel(model="model"))
    model = home.run(ApplyAestheticGradient(clip="clip"), model=base, embedding=built)
    whole = CLIPModel.from_pretrained(home.root / "clip")
    tensors = load_file(model.adapters[0].weights)
    assert torch.equal(tensors["text_projection"], whole.text_projection.weight)
    drawn = home.run(SampleImages(prompts="a", num_inference_steps=1), models=[model])
    assert len(drawn.images) == 1


def refused(runner: NodeRunner, node: Any, **inputs: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        runner.run(node, **inputs)
    assert caught.value.remedy
    return caught.value


def test_what_cannot_be_tuned_is_refused(home: NodeRunner, pictures: Any, tmp_path: Path) -> None:
    small = home.run(BuildAestheticEmbedding(clip="clip"), images=pictures)
    base, bundled = home.run(LoadModel(model="model")), home.run(LoadModel())
    assert refused(home, ApplyAestheticGradient(), model=base, embedding=small).field == "clip"
    assert "24 wide" in str(refused(home, ApplyAestheticGradient(), model=bundled, embedding=small))
    assert "hidden_size" in str(refused(home, ApplyAestheticGradient(clip="clip"), model=bundled, embedding=small))
    once = home.run(ApplyAestheticGradient(clip="clip"), model=base, embedding=small)
    assert refused(home, ApplyAestheticGradient(clip="clip"), model=once, embedding=small).field == "model"
    sdxl = handle(make_model_folder(tmp_path / "sdxl", "sdxl"))
    assert "SDXL" in str(refused(home, ApplyAestheticGradient(clip="clip"), model=sdxl, embedding=small))


def test_no_clip_is_refused(home: NodeRunner, pictures: Any) -> None:
    assert refused(home, BuildAestheticEmbedding(), images=pictures).field == "clip"
    base = home.run(LoadModel(model="model"))
    assert refused(home, BuildAestheticEmbedding(), images=pictures, model=base).field == "clip"
    assert refused(home, BuildAestheticEmbedding(clip="model"), images=pictures).field == "clip"
    with pytest.raises(ValueError, match="outside"):
        home.run(BuildAestheticEmbedding(clip="../elsewhere"), images=pictures)
