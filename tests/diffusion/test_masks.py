"""The loss that looks at the picture alone, where a view does not fill with it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nodes.diffusion.families.ddpm import DDPM
from nodes.diffusion.handles.datasets import LatentView
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.pictures.buckets import plan_views
from nodes.diffusion.training.batches import Draw
from nodes.diffusion.training.denoising_loss import denoising_loss, valid_mask
from nodes.diffusion.training.denoising_task import DenoisingTask
from nodes.methods.train_custom_diffusion import _smaller
from tests.diffusion.test_train import make_bench


def sample_of(valid: tuple[int, int, int, int] | None, side: int = 64) -> Draw:
    return Draw(0, LatentView(Path("x"), (side, side), (0, 0), (side, side), valid), 0)


def test_the_mask_covers_whole_latent_pixels_inside_the_picture() -> None:
    latents = torch.zeros(2, 4, 8, 8)
    assert valid_mask([sample_of(None).view, sample_of(None).view], latents) is None
    mask = valid_mask([sample_of(None).view, sample_of((9, 16, 47, 40)).view], latents)
    assert mask is not None
    assert mask[0].all()
    wanted = torch.zeros(8, 8)
    wanted[2:5, 2:5] = 1
    assert torch.equal(mask[1, 0], wanted)


def test_no_mask_is_ever_empty() -> None:
    chance = random.Random(0)
    for number in range(2000):
        size = (chance.randint(1, 400), chance.randint(1, 400))
        for view in plan_views(size, (64, 64), random_crops=0, flip=False, seed=str(number), smaller_copies=1)[1:]:
            left, top = view.crop
            valid = (-left, -top, view.resized[0] - left, view.resized[1] - top)
            assert valid[2] <= 64
            assert valid[3] <= 64
            mask = valid_mask([sample_of(valid).view], torch.zeros(1, 4, 8, 8))
            assert mask is not None
            assert mask.sum() > 0


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_masked_loss_is_the_mean_over_the_valid_area_of_each_sample(tmp_path: Path, family: str) -> None:
    bench = make_bench(tmp_path, family)
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    timesteps, text = torch.tensor([10, 700]), torch.randn(2, 77, 32, generator=generator)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, :, :3], mask[1, :, 5:] = 1, 1
    schedule = bench.model.noise_scheduler
    with torch.no_grad():
        found = denoising_loss(
            lambda noisy, level: bench.model.unet(noisy, level, text).sample, DDPM(schedule), latents, noise, timesteps, mask=mask
        )
        noisy = schedule.add_noise(latents, noise, timesteps)
        target = schedule.get_velocity(latents, noise, timesteps) if family == "sd2" else noise
        error = (bench.model.unet(noisy, timesteps, text).sample - target) ** 2
    each = [error[0, :, :, :3].mean(), error[1, :, 5:].mean()]
    assert found.item() == pytest.approx(float(sum(each) / 2), rel=1e-5)


def test_captions_of_smaller_pictures_say_so_where_the_method_wants_it(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "sd1")
    draws = [sample_of(None), sample_of((9, 16, 47, 40))]
    plain = DenoisingTask(bench.model, DenoisingSettings(), bench.latents, bench.captions)
    assert plain.captions_of(draws) == ["thing 0", "thing 0"]
    special = replace(plain, caption_of=_smaller)
    assert special.captions_of(draws) == ["thing 0", "very small thing 0"]
