"""BakeLoRA and AsModel: what is baked is what an adapter does, in every layout, in one pass."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nodes.diffusion import loading
from nodes.diffusion.merging.values import Checkpoint
from nodes.diffusion.overlays import applied
from nodes.diffusion.text import encode_prompts
from nodes.merging.as_model import AsModel
from nodes.merging.bake_lora import BakeLoRA
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.diffusion.test_lora import forward
from tests.diffusion.test_lora_deltas import each_algorithm, family_adapter
from tests.models import make_model_folder
from tests.nodes.desk import Desk
from tests.nodes.test_single_files import saved as save_single_file

CPU = torch.device("cpu")
FAMILIES = ["sd1", "sd2", "sdxl"]
LAYOUTS = ["folder", "file"]


class Place:
    """A small model in the workspace, as a folder and as a file, and a LoRA over it."""

    def __init__(self, desk: Desk, family: Any, layout: str = "folder") -> None:
        self.desk, self.folder = desk, make_model_folder(desk.root / "folder", family)
        save_single_file(self.folder, desk.root / "file.safetensors")
        self.name = "folder" if layout == "folder" else "file.safetensors"
        self.model = desk.run(LoadModel(model=self.name))

    def lora(self, algorithm: str, **changes: Any) -> Any:
        return family_adapter(self.folder, algorithm, self.desk.root / f"{algorithm}.safetensors", **changes)

    def with_loras(self, *loras: Any) -> Any:
        return replace(self.model, adapters=loras)

    def write(self, checkpoint: Checkpoint, precision: str = "fp32") -> dict[str, torch.Tensor]:
        (artifact,) = self.desk.run(SaveSafetensors(precision=precision, filename="m"), model=checkpoint)
        return load_file(artifact.file)

    def opened(self, model: Any) -> loading.StableDiffusion:
        return loading.load(model, self.desk.located[model.digest], device=CPU)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
@each_algorithm
def test_a_baked_model_computes_what_the_adapters_make_of_it(desk: Desk, family: str, layout: str, algorithm: str) -> None:
    place = Place(desk, family, layout)
    loras = [place.lora(algorithm, unet_strength=0.7, text_encoder_strength=0.4), place.lora("lora")]
    model = place.with_loras(*loras)
    with applied(loras, place.opened(model)):
        expected, text = forward(place.opened(model)), encode_prompts(place.opened(model), ["a cat"])
    baked = desk.run(AsModel(), checkpoint=desk.run(BakeLoRA(), model=model), model=model)
    plain = forward(place.opened(model))
    with applied(baked.adapters, place.opened(model)):
        found, found_text = forward(place.opened(model)), encode_prompts(place.opened(model), ["a cat"])
    assert (expected - plain).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(found_text.hidden, text.hidden, rtol=0, atol=1e-4)
