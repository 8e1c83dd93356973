"""DreamArtist's loss beside a computation by hand, and which word receives what."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.text.encoding import encode_prompts
from nodes.diffusion.training.denoising_task import DenoisingTask
from nodes.diffusion.training.dreamartist import guided, with_negative
from tests.diffusion.test_train import Bench, make_bench

WORDS = (
    TokenEmbedding(placeholder_token="<new>", num_vectors=2, initializer_token="a"),
    TokenEmbedding(placeholder_token="<new>-neg", num_vectors=3, initializer_token="b", spread=1e-3, negative=True),
)


def task(bench: Bench, guidance_scale: float) -> DenoisingTask:
    captions = replace(bench.captions, captions=(("an <new> here",),) * 5, caption_dropout=0.0)
    settings = DenoisingSettings(batch_size=2, sample_latents=False)
    special = {"conditions_of": with_negative("<new>", "<new>-neg"), "predict": guided(guidance_scale)}
    return DenoisingTask(bench.model, settings, bench.latents, captions, **special)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_loss_is_that_of_the_guided_prediction(tmp_path: Path, family: Any) -> None:
    bench = make_bench(tmp_path, family)
    with torch.no_grad(), apply_adapters(WORDS, bench.model):
        made = task(bench, 3.5)
        draws, drawn, latents = made._batch_of(0)
        found = made.loss(0, 0)
        schedule = bench.model.noise_scheduler
        noisy = schedule.add_noise(latents, drawn.noise, drawn.levels)
        predictions = []
        for caption in ("an <new>-neg here", "an <new> here"):
            text = encode_prompts(bench.model, [caption] * len(draws))
            added = None
            if text.get("pooled") is not None:
                ids = torch.tensor([[16.0, 20, 0, 2, 16, 16]] * len(draws))
                added = {"text_embeds": text.get("pooled"), "time_ids": ids}
            predictions.append(bench.model.unet(noisy, drawn.levels, text["hidden"], added_cond_kwargs=added).sample)
        wanted = predictions[0] + 3.5 * (predictions[1] - predictions[0])
        v = schedule.config["prediction_type"] == "v_prediction"
        target = schedule.get_velocity(latents, drawn.noise, drawn.levels) if v else drawn.noise
    assert found.item() == pytest.approx(((wanted - target) ** 2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_guidance_1_makes_the_negative_word_irrelevant(tmp_path: Path, guidance_scale: float) -> None:
    bench = make_bench(tmp_path, "sd1")
    with apply_adapters(WORDS, bench.model) as applied:
        for tensors in applied:
            tensors["text_encoder_0"].requires_grad_(True)
        task(bench, guidance_scale).loss(0, 0).backward()
        positive, negative = (tensors["text_encoder_0"].grad for tensors in applied)
    assert positive is not None
    assert negative is not None
    assert (positive.abs().sum(dim=1) > 0).all()
    assert bool(negative.abs().sum() == 0) == (guidance_scale == 1)
