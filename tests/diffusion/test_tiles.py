"""Large pictures through the VAE in tiles: exact where tiles cannot differ, near where they can, and never more at once."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodes.diffusion.families.code import latent_space
from nodes.diffusion.models import vae_tiling
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.vae_encoding import encode_pictures
from nodes.diffusion.models.vae_tiling import LARGE, TILE, in_tiles, is_large
from nodes.diffusion.pictures.pictures import as_picture, psnr
from nodes.diffusion.sampling.sampler import decode
from tests.models import fresh_model, make_model_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    return fresh_model(make_model_folder(tmp_path_factory.mktemp("tiles") / "m", "sd1"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sizes divided by eight: what takes a second here takes minutes at full size."""
    for name in ("LARGE", "TILE", "OVERLAP"):
        monkeypatch.setattr(vae_tiling, name, getattr(vae_tiling, name) // (64 if name == "LARGE" else 8))


def smooth(count: int, height: int, width: int) -> Tensor:
    """Clouds, as pictures are smoother than noise."""
    small = torch.rand(count, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(4)) * 2 - 1
    return nn.functional.interpolate(small, size=(height, width), mode="bilinear")


@pytest.mark.parametrize(("height", "width"), [(1032, 1024), (2048, 776), (64, 4096), (1536, 1600)])
def test_what_looks_at_each_place_alone_is_exact(height: int, width: int) -> None:
    picture, seen = smooth(1, height, width), list[tuple[int, int]]()

    def made(tile: Tensor) -> Tensor:
        seen.append((tile.shape[2], tile.shape[3]))
        return nn.functional.avg_pool2d(tile, 8)

    found = in_tiles(picture, made, 8, enlarged=False)
    assert torch.allclose(found, nn.functional.avg_pool2d(picture, 8), atol=1e-6)
    assert set(seen) == {(min(height, TILE), min(width, TILE))}, "tiles of one size: none is a thin strip"

    def back(tile: Tensor) -> Tensor:
        assert max(tile.shape[2:]) <= TILE // 8
        return nn.functional.interpolate(tile, scale_factor=8)

    whole = nn.functional.interpolate(found, scale_factor=8)
    assert torch.allclose(in_tiles(found, back, 8, enlarged=True), whole, atol=1e-6)


def test_borders_of_tiles_fade_into_each_other() -> None:
    """Tiles that are each of another brightness leave no step."""
    brightness = iter(range(100))
    found = in_tiles(torch.zeros(1, 1, 64, 4096), lambda tile: torch.full_like(tile, next(brightness)), 1, enlarged=False)
    assert found[0, 0, 0, 0] == 0
    assert found[0, 0, 0, -1] == next(brightness) - 1 >= 4
    assert float(found.diff(dim=3).abs().max()) < 1 / 100


def test_ordinary_pictures_go_through_whole() -> None:
    assert not any(is_large(*size) for size in [(1024, 1024), (1536, 1024), (2048, 512)])
    assert is_large(1536, 1032)
    assert LARGE > TILE**2


def sizes_seen(part: nn.Module, seen: list[tuple[int, ...]]) -> Any:
    return part.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))


@pytest.mark.usefixtures("small")
def test_a_large_picture_is_encoded_tile_by_tile_and_nearly_the_same(model: ActiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, seen = smooth(1, 160, 192), list[tuple[int, ...]]()
    hook = sizes_seen(model.vae.encoder, seen)
    mean, std = encode_pictures(latent_space(model), shown, ["a"])
    hook.remove()
    assert seen == [(1, 3, 128, 128)] * 4
    monkeypatch.setattr(vae_tiling, "LARGE", 192 * 192)
    whole, deviation = encode_pictures(latent_space(model), shown, ["a"])
    assert mean.shape == whole.shape == (1, 4, 80, 96)
    assert float((mean - whole).abs().mean()) < 0.1 * float(whole.std())
    assert float((std / deviation).log().abs().mean()) < 0.05
    assert not torch.equal(mean, whole), "which is why it is only done to large ones"


@pytest.mark.usefixtures("small")
def test_large_latents_do_not_depend_on_their_company(model: ActiveModel) -> None:
    shown = smooth(2, 160, 192)
    together, _ = encode_pictures(latent_space(model), shown, ["a", "b"])
    alone, _ = encode_pictures(latent_space(model), shown[1:], ["b"])
    assert torch.equal(together[1], alone[0])
    assert torch.equal(encode_pictures(latent_space(model), shown[1:], ["b"])[0], alone)


@pytest.mark.usefixtures("small")
def test_a_large_picture_is_drawn_tile_by_tile_and_nearly_the_same(model: ActiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    latents, seen = smooth(1, 160, 192)[:, :1, ::2, ::2].repeat(1, 4, 1, 1), list[tuple[int, ...]]()
    hook = sizes_seen(model.vae.decoder, seen)
    (found,) = decode(model, latents)
    hook.remove()
    assert seen == [(1, 4, 64, 64)] * 4
    monkeypatch.setattr(vae_tiling, "LARGE", 192 * 192)
    (whole,) = decode(model, latents)
    assert found.size == whole.size == (192, 160)
    assert psnr(found, whole) > 32
    assert psnr(found, as_picture(torch.zeros(3, 160, 192))) < 30, "there is something to see"
