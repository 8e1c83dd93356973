"""Model folders: what is found in them, what is refused, who shares and who is evicted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from nodes.diffusion.devices import choose_device, training_precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import inspect_folder
from tests.models import BUNDLED, fresh_model, handle, make_model_folder, shared_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(("family", "kind"), [("sd1", "epsilon"), ("sd2", "v_prediction"), ("sdxl", "epsilon")])
def test_facts_come_from_the_configurations(tmp_path: Path, family, kind: str) -> None:
    facts = inspect_folder(make_model_folder(tmp_path / "m", family))
    assert (facts.family, facts.prediction_type, facts.resolution) == (family, kind, 16)
    assert len(facts.text_parts) == (4 if family == "sdxl" else 2)


def test_the_bundled_model_is_whole_small_and_loads_in_diffusers() -> None:
    assert inspect_folder(BUNDLED).resolution == 128
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40 * 2**20
    assert not [path for path in files if path.suffix == ".json" and "/tmp" in path.read_text()]
    pipe = StableDiffusionPipeline.from_pretrained(BUNDLED, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    picture = pipe("flat style red apple", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (128, 128)


def remove(part: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in (folder / part).iterdir():
            path.unlink()
        (folder / part).rmdir()

    return damage


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def truncate(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle_only(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
DAMAGE = {
    "no unet": (remove("unet"), "'unet'"),
    "no scheduler": (remove("scheduler"), "'scheduler'"),
    "zero bytes": (overwrite(WEIGHTS, b""), WEIGHTS),
    "a pickle": (overwrite(WEIGHTS, b"\x80\x04" + b"x" * 100), WEIGHTS),
    "cut off": (truncate, f"{WEIGHTS} is not a whole safetensors file"),
    "odd header": (overwrite(WEIGHTS, len(b'{"a": 3}').to_bytes(8, "little") + b'{"a": 3}'), WEIGHTS),
    "a pickle that is none": (pickle_only, "vae/diffusion_pytorch_model.bin is not opened"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "unet holds no weights"),
    "broken config": (overwrite("unet/config.json", b"{"), "unet/config.json"),
    "nested config": (overwrite("unet/config.json", b"[" * 200_000), "unet/config.json"),
    "a list": (overwrite("vae/config.json", b"[]"), "vae/config.json"),
    "a word for a number": (overwrite("unet/config.json", b'{"sample_size": "x"}'), "sample_size"),
    "no blocks": (overwrite("vae/config.json", b'{"block_out_channels": []}'), "block_out_channels"),
    "depth": (overwrite("unet/config.json", b'{"in_channels": 5}'), "depth-to-image model: its UNet takes 5 channels"),
    "upscaling": (overwrite("unet/config.json", b'{"in_channels": 7}'), "upscaling model: its UNet takes 7 channels"),
    "other channels": (overwrite("unet/config.json", b'{"in_channels": 6}'), "no model that is known: its UNet takes 6"),
    "unCLIP": (overwrite("unet/config.json", b'{"class_embed_type": "projection"}'), "is an unCLIP model"),
    "endless blocks": (overwrite("unet/config.json", json.dumps({"block_out_channels": [4] * 2000}).encode()), "2000 layers"),
    "deep blocks": (overwrite("vae/config.json", b'{"block_out_channels": [4, 4], "layers_per_block": 100000}'), "200000 layers"),
    "deep and wide": (
        overwrite("unet/config.json", b'{"transformer_layers_per_block": [1, [90, 1]], "layers_per_block": [2, 90]}'),
        "8100 layers",
    ),
    "deep texts": (overwrite("text_encoder/config.json", b'{"num_hidden_layers": 100000}'), "100000 layers"),
    "a long config": (overwrite("unet/config.json", b" " * 2**23 + b"{}"), "too long"),
    "another prediction": (overwrite("scheduler/scheduler_config.json", b'{"prediction_type": "sample"}'), "'sample'"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    damage, expected = DAMAGE[kind]
    folder = make_model_folder(tmp_path / "m", "sd1")
    damage(folder)
    with pytest.raises(InputError, match=expected) as caught:
        inspect_folder(folder)
    assert caught.value.field == "model"


def spoil(name: str, **changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(config | changes))

    return damage


def lose_one(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / name)
        del tensors[next(key for key in sorted(tensors) if "attn" in key)]
        save_file(tensors, folder / name, {"format": "pt"})

    return damage


UNFIT = {
    "unet of another width": ("unet", spoil("unet/config.json", cross_attention_dim=48), "unet lacks .* shapes"),
    "text encoder of another width": ("text_encoders", spoil("text_encoder/config.json", hidden_size=16), "text_encoder lacks"),
    "unet with a gap": ("unet", lose_one(WEIGHTS), "unet lacks 1 weights"),
    "text encoder with a gap": ("text_encoders", lose_one("text_encoder/model.safetensors"), "text_encoder lacks 1 weights"),
    "impossible unet": ("unet", spoil("unet/config.json", block_out_channels=3), "unet cannot be loaded"),
    "no words": ("tokenizers", lambda folder: (folder / "tokenizer" / "vocab.json").unlink(), "tokenizer cannot be loaded"),
    "broken words": ("tokenizers", overwrite("tokenizer/vocab.json", b"{"), "tokenizer cannot be loaded"),
    "unknown betas": (
        "noise_scheduler",
        spoil("scheduler/scheduler_config.json", beta_schedule="x"),
        "scheduler cannot be loaded",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_does_not_fit_is_never_filled_with_random_numbers(tmp_path: Path, kind: str, capfd) -> None:
    part, damage, expected = UNFIT[kind]
    folder = make_model_folder(tmp_path / "m", "sd1")
    damage(folder)
    with pytest.raises(InputError, match=expected) as caught:
        getattr(fresh_model(folder), part)
    assert caught.value.field == "model"
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "the error says it all"


@pytest.mark.parametrize("name", ["{stem}.fp16.safetensors", "{stem}.fp16-00001-of-00001.safetensors"])
def test_folders_that_hold_only_a_variant_load(tmp_path: Path, name: str) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    whole = fresh_model(folder).unet.state_dict()
    for file in list(folder.rglob("*.safetensors")):
        renamed = file.rename(file.with_name(name.format(stem=file.stem)))
        if "-" in name:
            index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(renamed), renamed.name)}
            file.with_name(f"{file.name}.index.fp16.json").write_text(json.dumps(index))
    assert inspect_folder(folder).family == "sd1"
    model = fresh_model(folder)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.unet.state_dict().items())
    assert not model.vae.training
    assert len(model.text_encoders) == 1


def test_a_plain_file_goes_before_its_variant(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    save_file({"x": torch.zeros(1)}, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors", {"format": "pt"})
    assert fresh_model(folder).unet is not None


def test_the_older_names_of_the_vae_s_attention_load(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for new, old in older.items():
        names = [name for name in tensors if new in name]
        assert names
        tensors |= {name.replace(new, old): tensors.pop(name) for name in names}
    expected = fresh_model(folder).vae.state_dict()
    save_file(tensors, file, {"format": "pt"})
    found = fresh_model(folder).vae.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_that_has_moved_is_read_where_it_lies_now(tmp_path: Path) -> None:
    before = make_model_folder(tmp_path / "before", "sd1")
    model = handle(before)
    assert shared_model(model, before).unet is not None
    after = before.rename(tmp_path / "after")
    assert shared_model(model, after).vae is not None


def test_the_same_weights_are_shared_and_frozen(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    one, two = (shared_model(handle(folder), folder) for _ in range(2))
    assert one.unet is two.unet
    assert one.text_encoders[0] is two.text_encoders[0]
    assert not any(p.requires_grad for p in one.unet.parameters())
    assert not one.unet.training
    assert shared_model(handle(folder), folder, "bf16").unet.dtype == torch.bfloat16


def test_a_model_in_memory_is_that_of_the_files_that_lie_there(tmp_path: Path) -> None:
    """Weights in memory are mapped from files: one that was written over and put back by another copy is read again."""
    folder = make_model_folder(tmp_path / "m", "sd1")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content, one = file.read_bytes(), shared_model(handle(folder), folder)
    expected = {name: tensor.clone() for name, tensor in one.unet.state_dict().items()}
    file.write_bytes(content[:-400] + bytes(400))
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    copy.replace(file)
    two = shared_model(handle(folder), folder)
    assert two.unet is not one.unet
    assert all(torch.equal(tensor, expected[name]) for name, tensor in two.unet.state_dict().items())


def test_a_model_whose_files_were_swapped_while_it_was_loaded_is_forgotten(tmp_path: Path) -> None:
    folder, other = (make_model_folder(tmp_path / name, "sd1") for name in ("m", "other"))
    one = shared_model(handle(folder), folder)
    folder.rename(tmp_path / "kept")
    other.rename(folder)
    held = one.unet
    assert one.unet is held, "the run that has it finds out by itself"
    folder.rename(other)
    (tmp_path / "kept").rename(folder)
    assert shared_model(handle(folder), folder).unet is not held


def test_devices_and_precisions(monkeypatch) -> None:
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            choose_device("cuda")
    with pytest.raises(InputError) as caught:
        training_precision(CPU, "fp16")
    assert caught.value.field == "precision"
    assert training_precision(CPU, "bf16") == "bf16"
    assert training_precision(CPU, "auto") in ("fp32", "bf16")
