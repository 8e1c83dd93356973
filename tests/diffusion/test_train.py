"""Training on a dataset, for every family: gradients, accumulation, precision, checkpointing, validation, a clean model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.targets import text_encoder_targets, unet_targets
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.datasets import (
    CaptionedDataset,
    CaptionItem,
    EmbeddingDataset,
    LatentDataset,
    LatentItem,
    LatentView,
    Picture,
)
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.optimization.loop import StepDone
from nodes.diffusion.text.encoding import encode_prompts
from nodes.diffusion.training.batches import Draw
from nodes.diffusion.training.denoising_task import DenoisingTask, train
from tests.models import WIDTH, fresh_model, handle, make_model_folder

CPU = torch.device("cpu")
FAMILIES = ["sd1", "sd2", "sdxl"]


@dataclass
class Bench:
    """A small random model, with a dataset of five items, that can be trained."""

    folder: Path
    model: ActiveModel
    latents: LatentDataset
    embeddings: EmbeddingDataset
    captions: CaptionedDataset

    def train(
        self, *, text_encoder: bool = False, precision: Any = "fp32", **changes: Any
    ) -> tuple[dict[str, torch.Tensor], list[StepDone]]:
        settings = DenoisingSettings(**{"max_steps": 4, "batch_size": 2, "learning_rate": 1e-2, **changes})
        targets = text_encoder_targets(handle(self.folder), self.folder, "attention") if text_encoder else ()
        adapter = LowRankAdapter(
            rank=2,
            alpha=2,
            unet_targets=unet_targets(handle(self.folder), self.folder, "attention"),
            text_encoder_targets=targets,
        )
        texts = self.captions if text_encoder else self.embeddings
        seen: list[StepDone] = []
        with apply_adapters([adapter], self.model) as applied:
            task = DenoisingTask(self.model, settings, self.latents, texts)
            trained = train(task, applied[0], task.settings, precision=precision, report=seen.append, checkpoint=None)
        return trained, seen


def make_bench(folder: Path, family: Any, *, in_channels: int = 4) -> Bench:
    model_folder = make_model_folder(folder / "model", family, in_channels=in_channels)
    generator = torch.Generator().manual_seed(0)
    latents, items, pictures = [], [], []
    for number in range(5):
        file = folder / f"latent{number}"
        save_file({"mean": torch.randn(4, 8, 8, generator=generator), "std": torch.full((4, 8, 8), 0.1)}, file)
        latents.append(LatentItem(str(number), (LatentView(file, (20, 16), (2, 0), (16, 16)),)))
        text = folder / f"text{number}"
        tensors = {"hidden": torch.randn(77, WIDTH, generator=generator)}
        save_file(tensors | ({"pooled": torch.randn(WIDTH, generator=generator)} if family == "sdxl" else {}), text)
        items.append(CaptionItem(str(number), (f"thing {number}",), (text,)))
        pictures.append(Picture("", str(number), 20, 16, ()))
    return Bench(
        model_folder,
        fresh_model(model_folder),
        LatentDataset(tuple(latents), ""),
        EmbeddingDataset(tuple(items), items[0].files[0], 0.2, ""),
        CaptionedDataset(tuple(pictures), captions=tuple(item.captions for item in items), caption_dropout=0.2),
    )


@pytest.fixture(params=FAMILIES)
def bench(request, tmp_path: Path) -> Bench:
    return make_bench(tmp_path, request.param)


def test_captions_that_are_read_while_training_have_their_weights(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    captions = tuple((f"(a:1.5) {number}",) for number in range(len(bench.captions.pictures)))
    draws = [Draw(0, bench.latents.items[0].views[0], 0)]
    for emphasis in ("none", "kohya"):
        texts = replace(bench.captions, captions=captions, emphasis=emphasis)
        found = DenoisingTask(bench.model, DenoisingSettings(), bench.latents, texts).text_conditions(draws)["hidden"]
        assert torch.equal(found, encode_prompts(bench.model, ["(a:1.5) 0"], emphasis=emphasis)["hidden"])


@pytest.mark.parametrize("text_encoder", [False, True], ids=["unet", "unet and text encoders"])
def test_every_trained_tensor_moves_and_the_model_does_not(bench: Bench, text_encoder: bool) -> None:
    before = {n: t.clone() for part in (bench.model.unet, *bench.model.text_encoders) for n, t in part.state_dict().items()}
    processors = dict(bench.model.unet.attn_processors)
    trained, seen = bench.train(text_encoder=text_encoder)
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())
    moved = [name for name, tensor in trained.items() if name.endswith("lora_B.weight") and tensor.abs().sum() > 0]
    assert set(moved) == {name for name in trained if name.endswith("lora_B.weight")}
    after = {n: t for part in (bench.model.unet, *bench.model.text_encoders) for n, t in part.state_dict().items()}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert bench.model.unet.attn_processors == processors
    assert len(seen) == 4


def test_accumulation_equals_the_larger_batch_on_the_same_samples_and_noise(bench: Bench) -> None:
    whole, whole_seen = bench.train(batch_size=4, noise_offset=0.1)
    parts, parts_seen = bench.train(batch_size=1, gradient_accumulation_steps=4, noise_offset=0.1)
    assert [d.loss for d in parts_seen] == pytest.approx([d.loss for d in whole_seen], rel=1e-4)
    # AdamW's first steps turn tiny differences of gradients near zero into differences of the size of the learning rate
    assert all(torch.allclose(whole[name], parts[name], atol=2e-3) for name in whole)


def test_gradient_checkpointing_changes_nothing_but_memory(bench: Bench) -> None:
    plain, _ = bench.train()
    checkpointed, _ = bench.train(gradient_checkpointing=True)
    assert all(torch.allclose(plain[name], checkpointed[name], atol=1e-5) for name in plain)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in bench.model.unet.modules())


def test_bf16_trains(bench: Bench) -> None:
    trained, seen = bench.train(precision="bf16")
    assert all(tensor.dtype == torch.float32 for tensor in trained.values())
    _, exact_seen = bench.train()
    assert seen[0].loss == pytest.approx(exact_seen[0].loss, rel=0.02)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_model_in_half_precision_trains_fp32_weights(bench: Bench, precision: Any) -> None:
    _, exact_seen = bench.train()
    bench.model = fresh_model(bench.folder, precision)
    trained, seen = bench.train(precision=precision)
    assert all(tensor.dtype == torch.float32 for tensor in trained.values())
    assert any(not torch.equal(tensor, tensor.to(bench.model.dtype).float()) for tensor in trained.values())
    assert seen[0].loss == pytest.approx(exact_seen[0].loss, rel=0.02)


def test_the_loss_at_fixed_noise_falls(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    settings = {"validation_fraction": 0.4, "max_steps": 1, "learning_rate": 1e-9}
    values: list[float] = []
    for changes in (settings, {**settings, "max_steps": 120, "learning_rate": 2e-2}):
        adapter = LowRankAdapter(
            rank=4, alpha=4, unet_targets=unet_targets(handle(bench.folder), bench.folder, "attention and feed-forward")
        )
        with apply_adapters([adapter], bench.model) as applied:
            task = DenoisingTask(bench.model, DenoisingSettings(batch_size=4, **changes), bench.latents, bench.embeddings)
            assert len(task.validation) == 2
            assert not set(task.validation) & set(task.training)
            train(task, applied[0], task.settings, precision="fp32", report=lambda done: None, checkpoint=None)
            values.append(task.validation_loss())
            assert task.validation_loss() == values[-1]
    assert values[1] < 0.97 * values[0]


def test_too_few_pictures_to_hold_some_out(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    one = LatentDataset(bench.latents.items[:1], "")
    with pytest.raises(InputError) as caught:
        DenoisingTask(bench.model, DenoisingSettings(validation_fraction=0.5), one, bench.embeddings)
    assert caught.value.field == "validation_fraction"


def test_sdxl_is_told_size_and_crop_of_each_sample(tmp_path: Path, monkeypatch) -> None:
    bench = make_bench(tmp_path, "sdxl")
    seen: list[torch.Tensor] = []
    original = bench.model.unet.forward

    def forward(*args: Any, **options: Any) -> Any:
        seen.append(options["added_cond_kwargs"]["time_ids"])
        return original(*args, **options)

    monkeypatch.setattr(bench.model.unet, "forward", forward)
    bench.train(max_steps=1)
    assert seen[0].tolist() == [[16, 20, 0, 2, 16, 16]] * 2
