"""Null-text inversion as nodes: what they return, the file between them, and what they refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from graph_runtime.context import METADATA_KEY, SilentReporter
from graph_runtime.errors import Interrupted
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.results import NullTextInversion
from nodes.methods.invert_ddim import InvertDDIM
from nodes.methods.optimize_null_text import OptimizeNullText
from nodes.models.load_null_text import LoadNullText
from nodes.output.save_null_text import SaveNullText
from nodes.sampling.sample_with_null_text import SampleWithNullText
from tests.models import handle, make_model_folder, random_adapter
from tests.nodes.node_runner import NodeRunner, images

FAMILIES = ["sd1", "sd2", "sdxl"]


class Setting:
    """A runner with a small model and two pictures, one of them with a text."""

    def __init__(self, runner: NodeRunner, family: Any = "sd1") -> None:
        self.runner = runner
        self.folder = make_model_folder(runner.root / "model", family)
        self.model = handle(self.folder)
        runner.picture("p/cat.png", text="a cat")
        runner.picture("p/dog.png")
        self.images = images(runner)
        runner.located |= {self.model.digest: self.folder}

    def invert(self, **fields: Any) -> Any:
        return self.runner.run(InvertDDIM(**{"num_inference_steps": 4, **fields}), model=self.model, images=self.images)

    def optimize(self, inversion: Any, model: Any = None, **fields: Any) -> NullTextInversion:
        node = OptimizeNullText(**{"inner_steps": 2, "early_stop": 0, **fields})
        return self.runner.run(node, model=model or self.model, inversion=inversion)

    def sample(self, inversion: Any, model: Any = None, **fields: Any) -> Any:
        return self.runner.run(SampleWithNullText(**fields), model=model or self.model, inversion=inversion)

    def saved(self, inversion: Any, **fields: Any) -> Path:
        (artifact,) = self.runner.run(SaveNullText(**fields), inversion=inversion)
        path = self.runner.root / artifact.name
        path.write_bytes(artifact.file.read_bytes())
        return path


@pytest.fixture
def setting(runner: NodeRunner) -> Setting:
    return Setting(runner)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_is_inverted_optimized_saved_loaded_and_drawn(runner: NodeRunner, family: Any) -> None:
    setting = Setting(runner, family)
    inversion = setting.invert()
    assert inversion.prompt == "a cat"
    assert load_file(inversion.file)["ddim_latents"].shape == (5, 4, 16, 16)
    found = setting.optimize(inversion)
    assert load_file(found.uncond)["uncond"].shape == (4, 77, 32)
    drawn = setting.sample(found, prompts="a dog\n\na red cat\n")
    assert "PSNR" in runner.messages.texts[0]
    assert [image.prompt for image in drawn.images] == ["picture", "VAE round trip", "a cat", "a dog", "a red cat"]
    assert drawn.columns == 5
    assert drawn.images[0].label.startswith("null text, ")
    assert setting.sample(found, prompts="a dog\na red cat") == drawn
    loaded = runner.run(LoadNullText(file=setting.saved(found).name))
    again = setting.sample(loaded, prompts="a dog\na red cat")
    assert [image.file for image in again.images] == [image.file for image in drawn.images[1:]]
    assert replace(loaded, picture=found.picture, file=found.file) == replace(found, uncond=loaded.uncond)


def test_a_plain_inversion_is_replayed_for_comparison(setting: Setting) -> None:
    inversion = setting.invert()
    plain = setting.sample(inversion, show_original=False)
    assert len(plain.images) == 1
    assert plain.images[0].label.startswith("plain DDIM, ")
    optimized = setting.sample(setting.optimize(inversion), show_original=False)
    assert optimized.images[0].file != plain.images[0].file
    followed = setting.sample(inversion, show_original=False, guidance_scale=1)
    assert followed.images[0].file != plain.images[0].file


def test_the_file_says_what_made_it(setting: Setting) -> None:
    found = setting.optimize(setting.invert(picture="dog.png", prompt="a dog"))
    with safe_open(setting.saved(found, filename="x"), "pt") as file:
        metadata = file.metadata()
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
    assert shapes == {"latent": (1, 4, 16, 16), "uncond": (4, 77, 32), "ddim_latents": (5, 4, 16, 16)}
    known = {"prompt": "a dog", "model_hash": setting.model.digest, "num_inference_steps": "4", "guidance_scale": "7.5"}
    assert metadata.items() >= {**known, "size": "32x32", "prediction_type": "epsilon"}.items()
    assert json.loads(metadata["scheduler"])["beta_schedule"] == "scaled_linear"
    assert METADATA_KEY in metadata


def test_without_the_way_the_file_still_draws_but_is_not_optimized_again(setting: Setting) -> None:
    found = setting.optimize(setting.invert())
    loaded = setting.runner.run(LoadNullText(file=setting.saved(found, ddim_latents=False).name))
    drawn = setting.sample(loaded)
    assert [image.prompt for image in drawn.images] == ["a cat"]
    assert drawn.images[0].label == "null text"
    with pytest.raises(InputError) as caught:
        setting.optimize(loaded)
    assert caught.value.field == "inversion"


class StoppingReporter(SilentReporter):
    """Stops after a step."""

    def __init__(self, stop_after: int = 0) -> None:
        self.stop_after = stop_after
        self.steps: list[int] = []

    def progress(self, step: int, total: int) -> None:
        self.steps.append(step)
        if step == self.stop_after:
            raise Interrupted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_optimization_ends_with_the_same_bytes(runner: NodeRunner, tmp_path: Path, family: Any) -> None:
    from graph_runtime.context import RunContext

    setting = Setting(runner, family)
    inversion, node = setting.invert(), OptimizeNullText(inner_steps=2, early_stop=0)
    whole = setting.optimize(inversion)
    seen: list[StoppingReporter] = []

    def go_on(stop_after: int) -> NullTextInversion:
        seen.append(StoppingReporter(stop_after))
        located = {setting.model.digest: setting.folder}
        folder = tmp_path / "progress"
        folder.mkdir(exist_ok=True)
        context = RunContext(device="cpu", store=runner.cache, located=located, reporter=seen[-1], progress_folder=folder)
        return node.run(setting.model, inversion, context)

    for stop_after in (1, 3):
        with pytest.raises(Interrupted):
            go_on(stop_after)
    assert go_on(0) == whole
    assert [reporter.steps for reporter in seen] == [[1], [2, 3], [4]]


def test_adapters_act_and_other_adapters_bring_a_warning(setting: Setting) -> None:
    adapter = random_adapter(setting.folder, setting.runner.root / "lora.safetensors")
    laid = replace(setting.model, adapters=(adapter,))
    plain, inversion = setting.invert(), setting.runner.run(InvertDDIM(num_inference_steps=4), model=laid, images=setting.images)
    assert plain.file != inversion.file
    setting.sample(inversion, laid)
    assert len(setting.runner.messages.texts) == 1
    setting.sample(inversion)
    assert "other adapters" in setting.runner.messages.texts[0]


def test_a_long_prompt_brings_a_warning(setting: Setting) -> None:
    inversion = setting.invert(prompt="cat " * 80)
    assert "cut" in setting.runner.messages.texts[0]
    setting.sample(inversion)
    assert "cut" in setting.runner.messages.texts[0]


def _untrained(s: Setting) -> Any:
    return s.runner.run(InjectLoRA(rank=2), model=s.model)


def _damaged(s: Setting) -> Any:
    path = s.saved(s.optimize(s.invert()))
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        save_file({**tensors, "uncond": torch.zeros(2, 77, 32)}, path, file.metadata())
    return s.runner.run(LoadNullText(file=path.name))


REFUSED: dict[str, tuple[str, Any]] = {
    "a picture that is not there": ("picture", lambda s: s.invert(picture="bird")),
    "no prompt and no text": ("prompt", lambda s: s.invert(picture="dog", prompt="  ")),
    "inverting with an untrained adapter": (
        "model",
        lambda s: s.runner.run(InvertDDIM(), model=_untrained(s), images=s.images),
    ),
    "optimizing with another model": ("inversion", lambda s: s.optimize(s.invert(), replace(s.model, digest="other"))),
    "sampling with another model": ("inversion", lambda s: s.sample(s.invert(), replace(s.model, digest="other"))),
    "sampling with an untrained adapter": ("model", lambda s: s.sample(s.invert(), _untrained(s))),
    "no such file": ("file", lambda s: s.runner.run(LoadNullText(file="nothing.safetensors"))),
    "a file of another kind": (
        "file",
        lambda s: s.runner.run(LoadNullText(file="model/unet/diffusion_pytorch_model.safetensors")),
    ),
    "a picture for a file": ("file", lambda s: s.runner.run(LoadNullText(file="p/cat.png"))),
    "a damaged file": ("file", _damaged),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_work_is_refused_with_field_and_remedy(setting: Setting, kind: str) -> None:
    field, attempt = REFUSED[kind]
    with pytest.raises(InputError) as caught:
        attempt(setting)
    assert caught.value.field == field
    assert caught.value.remedy
