"""SampleImages: rows of models, columns of prompts and seeds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from graph_runtime.context import RunContext
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel
from nodes.sampling.sample_images import SampleImages
from tests.models import handle, make_model_folder, random_adapter


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    root = tmp_path_factory.mktemp("sample")
    folder = make_model_folder(root / "tiny", "sd1")
    return handle(folder, adapters=(random_adapter(folder, root / "w.safetensors"),))


def context(model: DiffusionModel, **options: Any) -> RunContext:
    return RunContext(device="cpu", located={model.digest: Path(model.digest)}, **options)


def quick(**fields: Any) -> SampleImages:
    return SampleImages(**{"prompts": "red apple\n\n a house ", "num_inference_steps": 2, **fields})


def text_of(file: Path) -> str:
    with Image.open(file) as opened:
        return opened.text["parameters"]


def test_models_draw_the_same_prompts_and_seeds_one_row_each(trained: DiffusionModel) -> None:
    base = replace(trained, adapters=())
    drawn = quick(images_per_prompt=2, seed=7, batch_size=3).run([base, trained], context(trained))
    assert drawn.columns == 4
    row = [("red apple", 7), ("red apple", 8), ("a house", 7), ("a house", 8)]
    assert [(image.prompt, image.seed) for image in drawn.images] == row * 2
    assert [image.label for image in drawn.images] == ["tiny"] * 4 + ["tiny + LoRA"] * 4
    contents = [image.file.read_bytes() for image in drawn.images]
    assert len(set(contents)) == 8
    with Image.open(drawn.images[0].file) as opened:
        assert opened.size == (16, 16)


def test_the_same_fields_give_the_same_bytes_and_leave_the_model_alone(trained: DiffusionModel) -> None:
    node, base = quick(sampler="euler ancestral"), replace(trained, adapters=())
    first = node.run([base], context(trained))
    node.run([trained], context(trained))
    again = node.run([base], context(trained))
    pairs = list(zip(first.images, again.images, strict=True))
    assert len(pairs) == 2
    assert all(a.file.read_bytes() == b.file.read_bytes() for a, b in pairs)


def test_size_and_parameters_are_written(trained: DiffusionModel) -> None:
    drawn = quick(prompts="{a}", width=32, height=24, sampler="euler ancestral", negative_prompt="blurry").run(
        [trained], context(trained)
    )
    facts = "Steps: 2, Sampler: Euler a, CFG scale: 5.0, Seed: 0, Size: 32x24, Model: tiny + LoRA"
    assert text_of(drawn.images[0].file) == f"{{a}}\nNegative prompt: blurry\n{facts}"
    plain = quick(prompts="a").run([trained], context(trained))
    assert text_of(plain.images[0].file).startswith("a\nSteps: 2")


class Listener:
    """Remembers what a node reports."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.texts: list[str] = []

    def progress(self, step: int, total: int) -> None:
        self.steps.append((step, total))

    def message(self, text: str, level: str) -> None:
        self.texts.append(f"{level}: {text}")

    def metric(self, step: int, values: object) -> None: ...

    def preview(self, step: int, file: Path) -> None: ...


def test_progress_counts_every_step_of_every_batch_once(trained: DiffusionModel) -> None:
    listener = Listener()
    node = quick(prompts="a\na\nb", batch_size=1, num_inference_steps=3)
    node.run([replace(trained, adapters=()), trained], context(trained, reporter=listener))
    assert listener.steps == [(step, 18) for step in range(1, 19)]


def test_a_prompt_that_is_too_long_is_named(trained: DiffusionModel) -> None:
    listener = Listener()
    quick(prompts="short\n" + "long " * 30).run([trained, trained], context(trained, reporter=listener))
    assert len(listener.texts) == 1
    assert listener.texts[0].startswith("warning: ")
    assert "long long" in listener.texts[0]


def test_zero_terminal_snr_of_the_model_reaches_the_sampler(tmp_path: Path) -> None:
    node, model = quick(prompts="a", sampler="ddim"), handle(make_model_folder(tmp_path, "sd2"))
    plain, zero = (node.run([replace(model, zero_terminal_snr=flag)], context(model)) for flag in (False, True))
    assert plain.images[0].file.read_bytes() != zero.images[0].file.read_bytes()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_draws_nearly_the_same_with_its_lora(trained: DiffusionModel, precision: str) -> None:
    full, half = (quick(prompts="a", precision=kind).run([trained], context(trained)).images[0] for kind in ("fp32", precision))
    with Image.open(full.file) as one, Image.open(half.file) as other:
        apart = [abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True)]
    assert max(apart) > 0
    assert sum(apart) / len(apart) < 8


def test_what_cannot_be_drawn_is_refused(trained: DiffusionModel) -> None:
    untrained = replace(trained, adapters=(replace(trained.adapters[0], weights=None),))
    with pytest.raises(InputError) as caught:
        quick().run([untrained], context(trained))
    assert (caught.value.field, caught.value.remedy) == ("models", "Wire the trained model here.")
    with pytest.raises(ValidationError, match="at least one prompt"):
        quick(prompts=" \n ")


def test_weights_in_prompts_act_as_chosen(trained: DiffusionModel) -> None:
    base = replace(trained, adapters=())

    def pixels(prompts: str, **fields: Any) -> list[bytes]:
        drawn = quick(prompts=prompts, num_inference_steps=1, batch_size=1, **fields).run([base], context(base))
        return [Image.open(image.file).tobytes() for image in drawn.images]

    a1111 = pixels("red apple\n(red apple:1.0)\n(red apple:1.4)")
    assert a1111[0] == a1111[1] != a1111[2]
    comfyui = pixels("red apple\n(red apple:1.4)", prompt_weights="comfyui")
    assert comfyui[0] == a1111[0] != comfyui[1] != a1111[2]
    assert pixels("(red apple:1.0)", prompt_weights="none") != a1111[:1]


def test_syntax_that_means_nothing_here_is_refused(trained: DiffusionModel) -> None:
    for fields in ({"prompts": "a <lora:x:0.8>"}, {"negative_prompt": "a <lora:x:0.8>"}):
        with pytest.raises(ValidationError, match="put LoadLoRA between the model"):
            quick(**fields)
    node = quick(prompts="a house\n[a|b]")
    for refuse in (lambda: node.check({"models": []}), lambda: node.run([trained], context(trained))):
        with pytest.raises(InputError, match="between steps"):
            refuse()
    quick(prompts="[a|b]", prompt_weights="comfyui").check({"models": []})
