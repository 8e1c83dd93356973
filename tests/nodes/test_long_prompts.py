"""LoadModel's max_token_length on its way through the graph: captions, trainings, pictures, inversions."""

import io
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from nodes.adapters.inject_lora import InjectLoRA
from nodes.data.encode_captions import EncodeCaptions
from nodes.data.encode_latents import EncodeLatents
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.handles.models import DiffusionModel, inversion_conditions
from nodes.methods.invert_ddim import InvertDDIM
from nodes.methods.optimize_null_text import OptimizeNullText
from nodes.methods.train_lora import TrainLoRA
from nodes.methods.train_ti import TrainTI
from nodes.models.load_model import LoadModel
from nodes.sampling.sample_images import SampleImages
from nodes.sampling.sample_with_null_text import SampleWithNullText
from tests.models import make_model_folder
from tests.nodes.node_runner import NodeRunner, captions, images

FAMILIES = ["sd1", "sd2", "sdxl"]
BEGIN = "x" * 75


class Setting:
    """A model read with 75 and with 150 tokens, and two pictures with long captions that end differently."""

    def __init__(self, runner: NodeRunner, family: Any = "sd1") -> None:
        self.runner = runner
        make_model_folder(runner.root / "m", family)
        for name in "ab":
            runner.picture(f"p/{name}.png", text=f"{BEGIN} <new> {name}")
        self.short: DiffusionModel = runner.run(LoadModel(model="m"))
        self.long: DiffusionModel = runner.run(LoadModel(model="m", max_token_length=150))
        self.images = images(runner)
        self.captions: CaptionedDataset = captions(runner, self.images)

    def draw(self, model: DiffusionModel, prompt: str, **fields: Any) -> bytes:
        node = SampleImages(**{"prompts": prompt, "num_inference_steps": 1, **fields})
        return self.runner.run(node, models=[model]).images[0].file.read_bytes()


@pytest.fixture(params=FAMILIES)
def setting(request: Any, runner: NodeRunner) -> Setting:
    return Setting(runner, request.param)


def test_captions_are_kept_apart_by_length_and_train_a_lora(setting: Setting) -> None:
    runner = setting.runner
    short = runner.run(EncodeCaptions(), model=setting.short, captions=setting.captions)
    assert "by 6." in runner.messages.texts[0]
    long = runner.run(EncodeCaptions(), model=setting.long, captions=setting.captions)
    assert runner.messages.texts == [], "nothing is cut"
    assert [load_file(made.items[0].files[0])["hidden"].shape for made in (short, long)] == [(77, 32), (154, 32)]
    assert load_file(long.empty)["hidden"].shape == (154, 32)
    a, b = (load_file(item.files[0])["hidden"] for item in long.items)
    assert (a[:77] == b[:77]).all()
    assert (a[77:] != b[77:]).any()
    latents = runner.run(EncodeLatents(), model=setting.long, images=setting.images)
    injected = runner.run(InjectLoRA(rank=1), model=setting.long)
    train, inputs = TrainLoRA(max_steps=1, batch_size=2), {"model": injected, "latents": latents}
    facts = dict(runner.run(train, **inputs, embeddings=long).adapters[0].training)
    assert facts["ss_max_token_length"] == "150"
    with pytest.raises(InputError, match="another text encoder") as caught:
        runner.run(train, **inputs, embeddings=short)
    assert "max_token_length" in caught.value.remedy


def test_what_ends_a_long_prompt_shows_only_where_it_is_let_in(setting: Setting) -> None:
    ends = [f"{BEGIN} one", f"{BEGIN} two"]
    short = [setting.draw(setting.short, end) for end in ends]
    assert ["were cut at 75 tokens" in text for text in setting.runner.messages.texts] == [True]
    assert _pixels(short[0]) == _pixels(short[1])
    long = [setting.draw(setting.long, end, negative_prompt="short") for end in ends]
    assert _pixels(long[0]) != _pixels(long[1])
    assert setting.runner.messages.texts == []


def _pixels(file: bytes) -> bytes:
    """The picture without the texts, which hold the prompt."""
    with Image.open(io.BytesIO(file)) as opened:
        return opened.tobytes()


def test_a_word_behind_the_first_75_tokens_is_trained(runner: NodeRunner) -> None:
    setting = Setting(runner)
    latents = runner.run(EncodeLatents(), model=setting.long, images=setting.images)
    inputs = {"latents": latents, "captions": setting.captions}
    train = TrainTI(placeholder_token="<new>", initializer_token="b", num_vectors=2, max_steps=2, batch_size=2)
    with pytest.raises(InputError, match="<new> does not fit") as caught:
        runner.run(train, model=setting.short, **inputs)
    assert "max_token_length" in caught.value.remedy
    trained = runner.run(train, model=setting.long, **inputs)
    vectors = load_file(trained.adapters[0].weights)["text_encoder_0"]
    assert vectors.shape == (2, 32)
    assert (vectors[0] != vectors[1]).any(), "each of them has been moved"


def test_an_inversion_is_replayed_and_edited_at_its_own_length_alone(runner: NodeRunner) -> None:
    setting = Setting(runner)
    inversion = runner.run(InvertDDIM(num_inference_steps=2), model=setting.long, images=setting.images)
    assert runner.messages.texts == []
    found = runner.run(OptimizeNullText(inner_steps=1, early_stop=0), model=setting.long, inversion=inversion)
    assert load_file(found.uncond)["uncond"].shape == (2, 154, 32)
    draw = SampleWithNullText(prompts=f"{BEGIN} yes <new> a", show_original=False)
    drawn = runner.run(draw, model=setting.long, inversion=found)
    assert len(drawn.images) == 2
    with pytest.raises(InputError, match=r"texts of 154 tokens, the model's have 77"):
        runner.run(draw, model=setting.short, inversion=found)
    assert inversion_conditions(setting.short) != inversion_conditions(setting.long)
