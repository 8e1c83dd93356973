"""Model folders of before safetensors: pickles of tensors are read as safetensors are, and nothing in them is run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from graph_runtime.cache import digest_file
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import read_header
from nodes.diffusion.formats.model_folders import inspect_folder
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.models.loading import load_part
from nodes.diffusion.models.parts import stamps_of
from nodes.diffusion.models.saved_folders import part_tensors
from nodes.evaluation.method_facts import saved_bytes
from nodes.models.load_model import LoadModel
from tests.models import fresh_model, handle, make_model_folder

CPU = torch.device("cpu")
UNET = "unet/diffusion_pytorch_model"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("models") / "m", "sdxl")


def plain(tensors: dict[str, Any], stem: Path) -> None:
    torch.save(tensors, f"{stem}.bin")


def half(tensors: dict[str, Any], stem: Path) -> None:
    torch.save(tensors, f"{stem}.fp16.bin", _use_new_zipfile_serialization=False)


def shards(tensors: dict[str, Any], stem: Path) -> None:
    names = sorted(tensors)
    files = {f"{stem.name}-0000{n + 1}-of-00002.bin": names[n::2] for n in range(2)}
    for file, own in files.items():
        torch.save({name: tensors[name] for name in own}, stem.with_name(file))
    index = {"metadata": {}, "weight_map": {name: file for file, own in files.items() for name in own}}
    stem.with_name(f"{stem.name}.bin.index.json").write_text(json.dumps(index))


def pickled(original: Path, folder: Path, write: Callable[[dict[str, Any], Path], None] = plain) -> Path:
    """A copy of a model whose weights are pickles, under the names that the libraries gave them."""
    shutil.copytree(original, folder)
    for file in folder.rglob("*.safetensors"):
        write(load_file(file), file.with_name("pytorch_model" if file.stem == "model" else file.stem))
        file.unlink()
    (folder / "unet" / "optimizer.bin").write_bytes(b"not weights")
    return folder


def states(folder: Path, precision: Any = "fp32") -> dict[str, torch.Tensor]:
    model = fresh_model(folder, precision)
    parts = {"unet": model.unet, "vae": model.vae} | {f"text{n}": one for n, one in enumerate(model.text_encoders)}
    return {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(("write", "precision"), [(plain, "fp32"), (half, "bf16"), (shards, "fp32")])
def test_pickles_give_the_weights_that_safetensors_give(original: Path, tmp_path: Path, write: Any, precision: str) -> None:
    folder = pickled(original, tmp_path / "m", write)
    assert inspect_folder(folder) == inspect_folder(original)
    assert_equal(states(folder, precision), states(original, precision))
    for part in ("unet", "vae", "text_encoder_2"):
        assert_equal(part_tensors(handle(folder), folder, part), part_tensors(handle(original), original, part))


def test_the_older_names_of_a_vae_s_attention_are_read(original: Path, tmp_path: Path) -> None:
    def older(tensors: dict[str, Any], stem: Path) -> None:
        names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
        for new, old in names.items() if stem.parent.name == "vae" else ():
            tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
        plain(tensors, stem)

    assert_equal(states(pickled(original, tmp_path / "m", older)), states(original))


def test_safetensors_go_before_pickles_and_these_do_not_identify_a_model_then(original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(original, folder)
    (folder / f"{UNET}.bin").write_bytes(b"never opened")
    assert inspect_folder(folder).family == "sdxl"
    assert identifying(folder) == identifying(original)
    assert read_header(folder).keys() == read_header(original).keys()


def test_a_model_of_pickles_is_identified_by_them(original: Path, tmp_path: Path) -> None:
    def read() -> Any:
        files = OutsideReader(Workspace(tmp_path), digest_file)
        return LoadModel(model="m").fingerprint(files)

    folder = pickled(original, tmp_path / "m")
    before, stamps = read(), stamps_of([folder])
    tensors = torch.load(folder / "vae" / "diffusion_pytorch_model.bin", weights_only=True)
    plain({name: tensor + 1 for name, tensor in tensors.items()}, folder / "vae" / "diffusion_pytorch_model")
    after = read()
    assert [name for name in before if before[name] != after[name]] == ["folder", "vae"]
    assert stamps_of([folder]) != stamps


class Evil:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Evil, "asks for code to be run"),
        (lambda _: torch.zeros(1).expand(2**40), "repeats a few numbers as a large tensor"),
    ],
    ids=["code", "memory"],
)
def test_a_hostile_pickle_is_refused_by_name(original: Path, tmp_path: Path, content: Any, expected: str) -> None:
    folder = pickled(original, tmp_path / "m")
    torch.save({"conv_in.weight": content(tmp_path / "made")}, folder / f"{UNET}.bin")
    with pytest.raises(InputError, match=f"{UNET}.bin is not opened: .*{expected}") as caught:
        inspect_folder(folder)
    assert caught.value.field == "model"
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_a_pipe_in_the_place_of_weights_is_refused_by_name(original: Path, tmp_path: Path, ending: str) -> None:
    folder = pickled(original, tmp_path / "m")
    (folder / f"{UNET}.bin").unlink()
    os.mkfifo(folder / f"{UNET}.{ending}")
    with pytest.raises(InputError, match=f"{UNET}.{ending} cannot be read"):
        inspect_folder(folder)


def test_a_clip_of_pickles_embeds_as_that_of_safetensors_does(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 8}
    text, vision = sizes | {"vocab_size": 20, "eos_token_id": 2}, sizes | {"image_size": 8, "patch_size": 4}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    one, other = tmp_path / "one", tmp_path / "other"
    CLIPModel(config).save_pretrained(one)
    shutil.copytree(one, other)
    tensors = load_file(other / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]  # as older versions wrote it
    plain(tensors, other / "pytorch_model")
    (other / "model.safetensors").unlink()
    for kind in (CLIPTextModelWithProjection, CLIPVisionModelWithProjection):
        assert_equal(load_part(kind, other, CPU).state_dict(), load_part(kind, one, CPU).state_dict())
    assert identifying(other) == (*identifying(one), ".bin")


def test_the_size_of_a_model_of_pickles_is_told(original: Path, tmp_path: Path) -> None:
    change = WeightChange(name="x", unet=True, text_encoder=False, weights=Path("x"))
    assert saved_bytes(change, pickled(original, tmp_path / "m")) == saved_bytes(change, original)


def test_pickles_that_lack_weights_are_refused(original: Path, tmp_path: Path) -> None:
    folder = pickled(original, tmp_path / "m")
    tensors = torch.load(folder / f"{UNET}.bin", weights_only=True)
    plain({name: tensors[name] for name in sorted(tensors)[1:]} | {"conv_in.bias": torch.zeros(3)}, folder / UNET)
    with pytest.raises(InputError, match="unet lacks 2 weights of the shapes"):
        assert fresh_model(folder).unet


def test_a_merge_of_pickles_is_refused_with_a_remedy(original: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unet holds pickled weights \(\.bin\)") as caught:
        read_header(pickled(original, tmp_path / "m"))
    assert "SavePipeline" in caught.value.remedy
