"""Prior preservation beside a computation by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nodes.diffusion.families.ddpm import min_snr_weights
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.randomness import seed_for
from nodes.diffusion.training.batches import draw_noise, read_latents
from nodes.diffusion.training.denoising_task import DenoisingTask
from nodes.diffusion.training.prior_preservation import PriorPreservation, class_task
from tests.diffusion.test_train import Bench, make_bench


def by_hand(bench: Bench, settings: DenoisingSettings, seed: int) -> torch.Tensor:
    """The loss of the first batch of a dataset, in plain torch."""
    task = DenoisingTask(bench.model, settings.model_copy(update={"seed": seed}), bench.latents, bench.embeddings)
    draws, _, _ = task._batch_of(0)
    latents = read_latents([draw.view for draw in draws], task.files, None)
    drawn = draw_noise(latents.shape, task.objective.levels, noise_offset=0.0, seed=seed, step=0)
    text = task.text_conditions(draws)
    schedule = bench.model.noise_scheduler
    alphas = schedule.alphas_cumprod[drawn.levels].reshape(-1, 1, 1, 1)
    noisy = alphas.sqrt() * latents + (1 - alphas).sqrt() * drawn.noise
    v = bench.model.info.prediction_type == "v_prediction"
    target = alphas.sqrt() * drawn.noise - (1 - alphas).sqrt() * latents if v else drawn.noise
    added = None
    if text.get("pooled") is not None:
        rows = [[16, 20, 0, 2, 16, 16]] * len(draws)
        added = {"text_embeds": text.get("pooled"), "time_ids": torch.tensor(rows, dtype=torch.float32)}
    predicted = bench.model.unet(noisy, drawn.levels, text["hidden"], added_cond_kwargs=added).sample
    each = ((predicted - target) ** 2).mean(dim=(1, 2, 3))
    if settings.snr_gamma:
        snr = (alphas / (1 - alphas)).flatten()
        each = each * min_snr_weights(snr, settings.snr_gamma, bench.model.info.prediction_type)
    return each.mean()


@pytest.mark.parametrize("snr_gamma", [0.0, 5.0])
@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_loss_is_the_instances_plus_the_weighted_classs(tmp_path: Path, family: Any, weight: float, snr_gamma: float) -> None:
    """Each half has its own noise and its own weights, also with a batch of one, where a broadcast would hide a mistake."""
    bench = make_bench(tmp_path, family)
    for batch_size in (1, 3):
        settings = DenoisingSettings(batch_size=batch_size, sample_latents=False, snr_gamma=snr_gamma, seed=4)
        instance = DenoisingTask(bench.model, settings, bench.latents, bench.embeddings)
        prior = class_task(bench.model, settings, bench.latents, bench.embeddings)
        with torch.no_grad():
            found = PriorPreservation(instance, prior, weight).loss(0, 0)
            wanted = by_hand(bench, settings, 4) + weight * by_hand(bench, settings, seed_for(4, "class"))
        assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_class_holds_nothing_out_and_draws_its_own_noise(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    settings = DenoisingSettings(batch_size=2, validation_fraction=0.4)
    prior = class_task(bench.model, settings, bench.latents, bench.embeddings)
    instance = DenoisingTask(bench.model, settings, bench.latents, bench.embeddings)
    assert not prior.validation
    assert len(instance.validation) == 2
    assert not torch.equal(prior._batch_of(0)[1].noise, instance._batch_of(0)[1].noise)
