"""SavePipeline: a folder that diffusers and LoadModel open, with the trained weights and nothing else changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from graph_runtime.context import Artifact, RunContext
from graph_runtime.provenance import read_provenance
from graph_runtime.runs import RunFolder
from graph_runtime.workflow import Workflow
from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.output.save_pipeline import SavePipeline
from tests.diffusion.test_lora import forward
from tests.models import BUNDLED, fresh_model, handle, shared_model
from tests.nodes.node_runner import Messages
from tests.nodes.test_methods import Setting, custom_diffusion, fine_tune, fine_tune_with_text

CPU = torch.device("cpu")


def published(artifacts: tuple[Artifact, ...], output: Path) -> Path:
    """The folder as a run leaves it."""
    output.mkdir(exist_ok=True)
    run = RunFolder(output, Workflow(), {})
    first = Path(run.publish(artifacts[0], "save").path)
    run.close()
    return first.parent


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_diffusers_opens_it_with_the_trained_weights(tmp_path: Path, family: str) -> None:
    setting = Setting(tmp_path, family)
    trained = fine_tune_with_text(setting, setting.context)
    folder = published(SavePipeline(precision="fp32").run(trained, setting.context), tmp_path / "out")
    cls: Any = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipe = cls.from_pretrained(folder, local_files_only=True)
    loaded = shared_model(setting.model, setting.bench.folder)
    with apply_adapters(trained.adapters, loaded):
        ours = forward(loaded)
        text = {name: tensor.clone() for name, tensor in loaded.text_encoders[0].state_dict().items()}
    opened = fresh_model(folder)
    assert torch.equal(forward(opened), ours)
    assert all(torch.equal(tensor, text[name]) for name, tensor in opened.text_encoders[0].state_dict().items())
    assert all(torch.equal(tensor, pipe.unet.state_dict()[name]) for name, tensor in opened.unet.state_dict().items())
    assert all(torch.equal(tensor, loaded.vae.state_dict()[name]) for name, tensor in pipe.vae.state_dict().items())
    assert opened.info == loaded.info


def test_parts_that_are_not_saved_are_not_named(tmp_path: Path) -> None:
    model = handle(BUNDLED)
    context = RunContext(device="cpu", located={model.digest: BUNDLED})
    folder = published(SavePipeline().run(model, context), tmp_path / "out")
    pipe: Any = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert pipe.unet.config["cross_attention_dim"] == 192


def test_it_keeps_names_kinds_and_the_workflow(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    trained = fine_tune(setting, setting.context)
    folder = published(SavePipeline(precision="bf16").run(trained, setting.context), tmp_path / "out")
    before = load_file(setting.bench.folder / "text_encoder" / "model.safetensors")
    after = load_file(folder / "text_encoder" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(tensor.dtype == torch.bfloat16 for tensor in after.values())
    assert read_provenance(folder / "unet" / "diffusion_pytorch_model.safetensors") is not None


def test_a_model_without_signal_at_the_end_says_so(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd2")
    trained = replace(fine_tune(setting, setting.context), zero_terminal_snr=True)
    folder = published(SavePipeline().run(trained, setting.context), tmp_path / "out")
    config = fresh_model(folder).scheduler_config
    assert config["rescale_betas_zero_snr"]
    assert config["prediction_type"] == "v_prediction"


def test_the_same_folder_is_kept_once_and_another_gets_a_number(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    first = SavePipeline().run(setting.model, setting.context)
    folders = [published(first, tmp_path / "out"), published(first, tmp_path / "out")]
    other = SavePipeline(precision="fp32").run(setting.model, setting.context)
    folders.append(published(other, tmp_path / "out"))
    assert [folder.name for folder in folders] == ["model", "model", "model-2"]
    assert not list((tmp_path / "out").glob(".*"))


def test_what_is_not_part_of_the_weights_is_left_out_and_told_of(tmp_path: Path) -> None:
    setting, messages = Setting(tmp_path, "sd1"), Messages()
    laid = InjectLoRA(rank=1).run(setting.model, setting.context)
    with pytest.raises(InputError, match="has not been trained"):
        SavePipeline().run(laid, setting.context)
    trained = replace(laid, adapters=(replace(laid.adapters[0], weights=tmp_path / "lora.safetensors"),))
    (with_lora,) = SavePipeline().run(trained, replace(setting.context, reporter=messages))
    assert any("LoRA" in text for text in messages.texts)
    (without,) = SavePipeline().run(setting.model, setting.context)
    assert [(name, file.read_bytes()) for name, file in with_lora.folder] == [(n, f.read_bytes()) for n, f in without.folder]


def test_what_is_untrained_is_refused(tmp_path: Path) -> None:
    setting = Setting(tmp_path, "sd1")
    trained = fine_tune(setting, setting.context)
    untrained = replace(trained, adapters=(replace(trained.adapters[0], weights=None),))
    with pytest.raises(InputError, match="has not been trained"):
        SavePipeline().run(untrained, setting.context)


def test_words_are_announced_as_files_of_their_own(tmp_path: Path) -> None:
    from tests.nodes.node_runner import Messages

    setting = Setting(tmp_path, "sd1")
    trained = custom_diffusion(setting, setting.context)
    messages = Messages()
    SavePipeline().run(trained, replace(setting.context, reporter=messages))
    assert any("<new>" in text for text in messages.texts)
