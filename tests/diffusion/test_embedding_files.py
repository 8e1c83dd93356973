"""Embedding files: what other programs write is read, and what is written they read."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nodes.diffusion.adapters.textual_inversion_files import a1111_embedding, check_widths, file_tensors, read_vectors
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import TokenEmbedding
from tests.models import fresh_model, handle, make_model_folder

VECTORS = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
SECOND = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))


def trained(tmp_path: Path, *tensors: torch.Tensor) -> TokenEmbedding:
    file = tmp_path / "w.safetensors"
    save_file({f"text_encoder_{number}": tensor.contiguous() for number, tensor in enumerate(tensors)}, file)
    return TokenEmbedding(placeholder_token="<new>", num_vectors=3, weights=file, steps=7)


FOREIGN: dict[str, Any] = {
    "a1111.pt": {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "x", "step": 1},
    "a1111-parameter.pt": {"string_to_param": {"*": torch.nn.Parameter(VECTORS)}},
    "kohya.safetensors": {"emb_params": VECTORS},
    "onetrainer.safetensors": {"emp_params": VECTORS, "emp_params_out": VECTORS},
    "diffusers.bin": {"<new>": VECTORS},
    "bare.pt": VECTORS,
    "half.safetensors": {"emb_params": VECTORS.half()},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_every_layout_is_read(tmp_path: Path, name: str) -> None:
    content = FOREIGN[name]
    if name.endswith(".safetensors"):
        save_file({key: tensor.clone() for key, tensor in content.items()}, tmp_path / name)
    else:
        torch.save(content, tmp_path / name)
    (read,) = read_vectors(tmp_path / name)
    assert read.dtype == torch.float32
    assert torch.allclose(read, VECTORS, atol=2e-3 if name.startswith("half") else 0)


def test_one_vector_may_lack_its_dimension(tmp_path: Path) -> None:
    torch.save({"<new>": VECTORS[0]}, tmp_path / "x.bin")
    assert torch.equal(read_vectors(tmp_path / "x.bin")[0], VECTORS[:1])


def test_sdxl_holds_two(tmp_path: Path) -> None:
    word = trained(tmp_path, VECTORS[:, :16], SECOND)
    written = file_tensors(word, "sdxl")
    assert list(written) == ["clip_l", "clip_g"]
    save_file({name: tensor.clone() for name, tensor in written.items()}, tmp_path / "x.safetensors")
    first, second = read_vectors(tmp_path / "x.safetensors")
    assert torch.equal(first, VECTORS[:, :16])
    assert torch.equal(second, SECOND)


def test_a1111s_file_has_every_field_and_the_same_bytes(tmp_path: Path) -> None:
    model = replace(handle(make_model_folder(tmp_path / "m", "sd1")), digest="0123456789abcdef")
    word = trained(tmp_path, VECTORS)
    content = a1111_embedding(word, "fox", model, "")
    assert content == a1111_embedding(word, "fox", model, "")
    found = torch.load(io.BytesIO(content), weights_only=True)
    assert set(found) == {
        "string_to_token",
        "string_to_param",
        "name",
        "step",
        "sd_checkpoint",
        "sd_checkpoint_name",
        "usage_hint",
        "optional_info",
    }
    assert (found["name"], found["step"], found["sd_checkpoint"]) == ("fox", 7, "0123456789")
    assert torch.equal(found["string_to_param"]["*"], VECTORS)
    with pytest.raises(InputError, match="SDXL"):
        a1111_embedding(word, "fox", replace(model, family="sdxl"), "")


def test_diffusers_reads_its_layout(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    from tests.diffusion.test_sampling import pipeline

    word = trained(tmp_path, VECTORS)
    save_file({name: t.clone() for name, t in file_tensors(word, "sd1", token="<new>").items()}, tmp_path / "x.safetensors")
    pipe: Any = pipeline(fresh_model(make_model_folder(tmp_path / "m", "sd1")), "ddim")
    assert isinstance(pipe, StableDiffusionPipeline)
    pipe.load_textual_inversion(str(tmp_path / "x.safetensors"))
    ids = pipe.tokenizer.convert_tokens_to_ids(["<new>", "<new>_1", "<new>_2"])
    assert torch.equal(pipe.text_encoder.get_input_embeddings().weight[ids], VECTORS)


class Attack:
    """Runs a function when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("attacked"),)


@pytest.mark.parametrize("kind", ["attack", "empty", "text", "two tensors", "a picture", "not finite"])
def test_what_is_no_embedding_is_refused_and_runs_nothing(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    contents: dict[str, Any] = {
        "attack": {"string_to_param": {"*": Attack()}},
        "two tensors": {"a": VECTORS, "b": VECTORS},
        "a picture": {"a": torch.zeros(3, 4, 4)},
        "not finite": {"a": VECTORS / 0},
    }
    path = tmp_path / "x.pt"
    if kind in contents:
        torch.save(contents[kind], path)
    else:
        path.write_text("" if kind == "empty" else "hello")
    with pytest.raises(InputError) as caught:
        read_vectors(path)
    assert caught.value.field == "file"
    assert caught.value.remedy
    assert not (tmp_path / "attacked").exists()


NO_WORDS: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "no vector": ({"emb_params": torch.zeros(0, 32)}, "no vectors"),
    "diverged": ({"emb_params": VECTORS * torch.nan}, "not finite"),
    "factor of a LoRA": ({"lora_unet_x.lora_down.weight": VECTORS}, "0 tensors"),
}


@pytest.mark.parametrize("kind", NO_WORDS)
def test_what_holds_no_word_is_refused_by_what_it_is(tmp_path: Path, kind: str) -> None:
    tensors, message = NO_WORDS[kind]
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=message) as refused:
        read_vectors(tmp_path / "x.safetensors")
    assert refused.value.field == "file"
    assert refused.value.remedy


def test_a_width_that_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sdxl")
    check_widths([SECOND, SECOND], handle(folder), folder)
    with pytest.raises(InputError, match="32 wide; this model takes 16 and 16"):
        check_widths([VECTORS], handle(folder), folder)
