"""Model folders: what is found in them, what is refused, who shares and who is evicted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from nodes.diffusion import loading
from nodes.diffusion.devices import choose_device, training_precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.folders import inspect_folder
from nodes.diffusion.loading import StableDiffusion, load
from tests.models import BUNDLED, handle, make_model_folder

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
    "cut off": (truncate, "cut off"),
    "pickled weights": (pickle_only, "pickled weights"),
    "broken config": (overwrite("unet/config.json", b"{"), "unet/config.json"),
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


def test_a_folder_whose_weights_do_not_fit_says_which_part(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cross_attention_dim": 48}))
    with pytest.raises(InputError, match="unet cannot be loaded"):
        _ = StableDiffusion(folder, CPU, "fp32").unet


def test_the_same_weights_are_shared_and_frozen(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    one, two = (load(handle(folder), folder, device=CPU) for _ in range(2))
    assert one is two
    assert not any(p.requires_grad for p in one.unet.parameters())
    assert not one.unet.training
    assert load(handle(folder), folder, device=CPU, precision="bf16").unet.dtype == torch.bfloat16


def test_the_model_used_longest_ago_is_evicted(tmp_path: Path, monkeypatch) -> None:
    loading._resident.clear()
    folders = [make_model_folder(tmp_path / str(n), "sd1") for n in range(3)]
    models = [load(handle(folder), folder, device=CPU) for folder in folders[:2]]
    for model in models:
        assert model.unet is not None
    load(handle(folders[0]), folders[0], device=CPU)
    monkeypatch.setattr(loading, "memory_of", lambda device: 2 * sum(m.loaded_bytes() for m in models) - 2)
    newest = load(handle(folders[2]), folders[2], device=CPU)
    assert newest.vae is not None
    assert [key[0] for key in loading._resident] == [str(folders[0]), str(folders[2])]


def test_devices_and_precisions(monkeypatch) -> None:
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="0 CUDA devices"):
            choose_device("cuda")
    with pytest.raises(InputError) as caught:
        training_precision(CPU, "fp16")
    assert caught.value.field == "precision"
    assert training_precision(CPU, "bf16") == "bf16"
    assert training_precision(CPU, "auto") in ("fp32", "bf16")
