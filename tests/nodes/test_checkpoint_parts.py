"""BakeVAE and PruneCheckpoint: parts of checkpoints, in both layouts and in files of their own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.layouts.places import UNET, VAE, moving_average_name
from nodes.diffusion.merging.values import Checkpoint
from nodes.merging.bake_vae import BakeVAE
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.prune_checkpoint import PruneCheckpoint
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_safetensors import SaveSafetensors
from tests.models import make_model_folder
from tests.nodes.desk import Desk

Tensors = dict[str, Tensor]


class Files:
    """A model as folder and as file, another one of the same architecture, and the other's VAE in three more spellings."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        for name, seed in (("one", 0), ("other", 1)):
            folder = make_model_folder(desk.root / name, "sd1")
            for part in ("unet", "vae", "text_encoder"):
                (file,) = (folder / part).glob("*.safetensors")
                generator = torch.Generator().manual_seed(seed)
                save_file({n: torch.randn(t.shape, generator=generator) for n, t in sorted(load_file(file).items())}, file)
            (artifact,) = desk.run(SaveCheckpoint(), model=desk.run(LoadModel(model=name)))
            artifact.file.rename(desk.root / f"{name}.safetensors")
        (vae,) = (desk.root / "other" / "vae").glob("*.safetensors")
        save_file(load_file(vae), desk.root / "diffusers-vae.safetensors")
        ldm = {n.removeprefix(VAE): t for n, t in self.tensors("other").items() if n.startswith(VAE)}
        save_file({**ldm, "loss.logvar": torch.zeros(1)}, desk.root / "ldm-vae.safetensors")

    def tensors(self, name: str) -> Tensors:
        return load_file(self.desk.root / f"{name}.safetensors")

    def open(self, path: str) -> Checkpoint:
        return self.desk.run(LoadCheckpoint(path=path))

    def saved(self, checkpoint: Checkpoint) -> Tensors:
        (artifact,) = self.desk.run(SaveSafetensors(precision="fp32"), model=checkpoint)
        return load_file(artifact.file)


@pytest.fixture
def files(desk: Desk) -> Files:
    return Files(desk)


def same(found: Tensors, wanted: Tensors) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("donor", ["other.safetensors", "other", "diffusers-vae.safetensors", "ldm-vae.safetensors"])
@pytest.mark.parametrize("target", ["one.safetensors", "one"])
def test_a_vae_is_baked_in_from_every_spelling(files: Files, target: str, donor: str) -> None:
    plain, other = (files.saved(files.open(target.replace("one", name))) for name in ("one", "other"))
    found = files.saved(files.desk.run(BakeVAE(), checkpoint=files.open(target), vae=files.open(donor)))
    assert same(found, {name: (other if name.startswith((VAE, "vae.")) else plain)[name] for name in plain})


def test_a_merge_gets_a_vae_in_the_same_pass(files: Files) -> None:
    one, other = files.open("one.safetensors"), files.open("other.safetensors")
    merge = files.desk.run(MergeWeighted(ratio=0.25), models=[one, other])
    found = files.saved(files.desk.run(BakeVAE(), checkpoint=merge, vae=files.open("diffusers-vae.safetensors")))
    x, y = files.tensors("one"), files.tensors("other")
    for name in x:
        wanted = y[name] if name.startswith(VAE) or not x[name].is_floating_point() else 0.75 * x[name] + 0.25 * y[name]
        torch.testing.assert_close(found[name], wanted)


def test_a_vae_of_another_architecture_is_refused(files: Files) -> None:
    tensors = files.tensors("ldm-vae")
    save_file({name: t for name, t in tensors.items() if "decoder.up." not in name}, files.desk.root / "cut.safetensors")
    save_file({name: t.repeat(2, *[1] * (t.dim() - 1)) for name, t in tensors.items()}, files.desk.root / "wide.safetensors")
    for donor, words in (("cut.safetensors", "cut holds no"), ("wide.safetensors", "in one and")):
        with pytest.raises(InputError, match=words):
            files.desk.run(BakeVAE(), checkpoint=files.open("one.safetensors"), vae=files.open(donor))
    bare = files.desk.run(PruneCheckpoint(vae=False), checkpoint=files.open("one.safetensors"))
    with pytest.raises(InputError, match="holds no VAE"):
        files.desk.run(BakeVAE(), checkpoint=bare, vae=files.open("other"))


def with_averages(tensors: Tensors) -> Tensors:
    averages = {moving_average_name(name): tensor + 1 for name, tensor in tensors.items() if name.startswith(UNET)}
    return {**tensors, **averages, "alphas_cumprod": torch.ones(3), "v_pred": torch.zeros(0)}


def test_pruning_keeps_the_model_and_nothing_else(files: Files) -> None:
    plain = files.tensors("one")
    save_file(with_averages(plain), files.desk.root / "full.safetensors")
    full = files.open("full.safetensors")
    assert same(files.saved(files.desk.run(PruneCheckpoint(), checkpoint=full)), {**plain, "v_pred": torch.zeros(0)})
    average = files.saved(files.desk.run(PruneCheckpoint(moving_average=True), checkpoint=full))
    wanted = {name: tensor + 1 if name.startswith(UNET) else tensor for name, tensor in plain.items()}
    assert same(average, {**wanted, "v_pred": torch.zeros(0)})


@pytest.mark.parametrize("path", ["one.safetensors", "one"])
@pytest.mark.parametrize(
    ("field", "prefixes"), [("unet", (UNET, "unet.")), ("vae", (VAE, "vae.")), ("text_encoders", ("cond_", "text_"))]
)
def test_parts_are_left_out(files: Files, path: str, field: str, prefixes: tuple[str, ...]) -> None:
    plain: Any = files.saved(files.open(path))
    found = files.saved(files.desk.run(PruneCheckpoint(**{field: False}), checkpoint=files.open(path)))
    assert same(found, {name: tensor for name, tensor in plain.items() if not name.startswith(prefixes)})
    assert len(found) < len(plain)


def test_what_cannot_be_kept_is_named(files: Files, tmp_path: Path) -> None:
    one = files.open("one.safetensors")
    with pytest.raises(InputError, match="nothing is kept"):
        files.desk.run(PruneCheckpoint(unet=False, vae=False, text_encoders=False), checkpoint=one)
    with pytest.raises(InputError, match="no moving average"):
        files.desk.run(PruneCheckpoint(moving_average=True), checkpoint=one)
