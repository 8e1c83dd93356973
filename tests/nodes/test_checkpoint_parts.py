"""BakeVAE and PruneCheckpoint: parts of checkpoints, in both layouts and in files of their own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.stable_diffusion.facts.parts import UNET, VAE
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import moving_average_name
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.as_model import AsModel
from nodes.merging.bake_lora import BakeLoRA
from nodes.merging.bake_vae import BakeVAE
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.prune_checkpoint import PruneCheckpoint
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_safetensors import SaveSafetensors
from tests.models import make_model_folder, random_adapter
from tests.nodes.node_runner import NodeRunner

Tensors = dict[str, Tensor]


class Files:
    """A model as folder and as file, another one of the same architecture, and the other's VAE in three more spellings."""

    def __init__(self, runner: NodeRunner) -> None:
        self.runner = runner
        for name, seed in (("one", 0), ("other", 1)):
            folder = make_model_folder(runner.root / name, "sd1")
            for part in ("unet", "vae", "text_encoder"):
                (file,) = (folder / part).glob("*.safetensors")
                generator = torch.Generator().manual_seed(seed)
                save_file({n: torch.randn(t.shape, generator=generator) for n, t in sorted(load_file(file).items())}, file)
            (artifact,) = runner.run(SaveCheckpoint(), model=runner.run(LoadModel(model=name)))
            artifact.file.rename(runner.root / f"{name}.safetensors")
        (vae,) = (runner.root / "other" / "vae").glob("*.safetensors")
        save_file(load_file(vae), runner.root / "diffusers-vae.safetensors")
        ldm = {n.removeprefix(VAE): t for n, t in self.tensors("other").items() if n.startswith(VAE)}
        save_file({**ldm, "loss.logvar": torch.zeros(1)}, runner.root / "ldm-vae.safetensors")

    def tensors(self, name: str) -> Tensors:
        return load_file(self.runner.root / f"{name}.safetensors")

    def open(self, path: str) -> Checkpoint:
        return self.runner.run(LoadCheckpoint(path=path))

    def saved(self, checkpoint: Checkpoint) -> Tensors:
        (artifact,) = self.runner.run(SaveSafetensors(precision="fp32"), model=checkpoint)
        return load_file(artifact.file)


@pytest.fixture
def files(runner: NodeRunner) -> Files:
    return Files(runner)


def same(found: Tensors, wanted: Tensors) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("donor", ["other.safetensors", "other", "diffusers-vae.safetensors", "ldm-vae.safetensors"])
@pytest.mark.parametrize("target", ["one.safetensors", "one"])
def test_a_vae_is_baked_in_from_every_spelling(files: Files, target: str, donor: str) -> None:
    plain, other = (files.saved(files.open(target.replace("one", name))) for name in ("one", "other"))
    found = files.saved(files.runner.run(BakeVAE(), checkpoint=files.open(target), vae=files.open(donor)))
    assert same(found, {name: (other if name.startswith((VAE, "vae.")) else plain)[name] for name in plain})


def test_a_merge_gets_a_vae_in_the_same_pass(files: Files) -> None:
    one, other = files.open("one.safetensors"), files.open("other.safetensors")
    merge = files.runner.run(MergeWeighted(ratio=0.25), models=[one, other])
    found = files.saved(files.runner.run(BakeVAE(), checkpoint=merge, vae=files.open("diffusers-vae.safetensors")))
    x, y = files.tensors("one"), files.tensors("other")
    for name in x:
        wanted = y[name] if name.startswith(VAE) or not x[name].is_floating_point() else 0.75 * x[name] + 0.25 * y[name]
        torch.testing.assert_close(found[name], wanted)


def test_a_vae_of_another_architecture_is_refused(files: Files) -> None:
    tensors = files.tensors("ldm-vae")
    save_file({name: t for name, t in tensors.items() if "decoder.up." not in name}, files.runner.root / "cut.safetensors")
    save_file({name: t.repeat(2, *[1] * (t.dim() - 1)) for name, t in tensors.items()}, files.runner.root / "wide.safetensors")
    for donor, words in (("cut.safetensors", "cut holds no"), ("wide.safetensors", "in one and")):
        with pytest.raises(InputError, match=words):
            files.runner.run(BakeVAE(), checkpoint=files.open("one.safetensors"), vae=files.open(donor))
    bare = files.runner.run(PruneCheckpoint(vae=False), checkpoint=files.open("one.safetensors"))
    with pytest.raises(InputError, match="holds no VAE"):
        files.runner.run(BakeVAE(), checkpoint=bare, vae=files.open("other"))


def with_averages(tensors: Tensors) -> Tensors:
    averages = {moving_average_name(name): tensor + 1 for name, tensor in tensors.items() if name.startswith(UNET)}
    return {**tensors, **averages, "alphas_cumprod": torch.ones(3), "v_pred": torch.zeros(0)}


def test_pruning_keeps_the_model_and_nothing_else(files: Files) -> None:
    plain = files.tensors("one")
    save_file(with_averages(plain), files.runner.root / "full.safetensors")
    full = files.open("full.safetensors")
    assert same(files.saved(files.runner.run(PruneCheckpoint(), checkpoint=full)), {**plain, "v_pred": torch.zeros(0)})
    average = files.saved(files.runner.run(PruneCheckpoint(moving_average=True), checkpoint=full))
    wanted = {name: tensor + 1 if name.startswith(UNET) else tensor for name, tensor in plain.items()}
    assert same(average, {**wanted, "v_pred": torch.zeros(0)})


@pytest.mark.parametrize("path", ["one.safetensors", "one"])
@pytest.mark.parametrize(
    ("field", "prefixes"), [("unet", (UNET, "unet.")), ("vae", (VAE, "vae.")), ("text_encoders", ("cond_", "text_"))]
)
def test_parts_are_left_out(files: Files, path: str, field: str, prefixes: tuple[str, ...]) -> None:
    plain: Any = files.saved(files.open(path))
    found = files.saved(files.runner.run(PruneCheckpoint(**{field: False}), checkpoint=files.open(path)))
    assert same(found, {name: tensor for name, tensor in plain.items() if not name.startswith(prefixes)})
    assert len(found) < len(plain)


def test_what_cannot_be_kept_is_named(files: Files, tmp_path: Path) -> None:
    one = files.open("one.safetensors")
    with pytest.raises(InputError, match="nothing is kept"):
        files.runner.run(PruneCheckpoint(unet=False, vae=False, text_encoders=False), checkpoint=one)
    with pytest.raises(InputError, match="no moving average"):
        files.runner.run(PruneCheckpoint(moving_average=True), checkpoint=one)


def with_trained(files: Files, model: Any, *, part: str = "unet", **change: Any) -> Any:
    """A model whose UNet, or another part, was trained: all its weights are 3."""
    (file,) = (files.runner.root / "one" / part).glob("*.safetensors")
    trained = {f"{part}.{name}": torch.full_like(tensor, 3) for name, tensor in load_file(file).items()}
    path = files.runner.root / f"trained-{part}.safetensors"
    save_file(trained, path)
    return replace(model, adapters=(WeightChange(name="trained", weights=path, unet=part == "unet", **change),))


@pytest.mark.parametrize("moving_average", [False, True])
def test_trained_weights_outlive_a_moving_average(files: Files, moving_average: bool) -> None:
    plain, told = files.tensors("one"), metadata_of(files.runner.root / "one.safetensors")
    save_file(with_averages(plain), files.runner.root / "full.safetensors", told)
    model = files.runner.run(LoadModel(model="full.safetensors", moving_average=moving_average))
    checkpoint = files.runner.run(AsCheckpoint(), model=with_trained(files, model))
    wanted = {name: torch.full_like(tensor, 3) if name.startswith(UNET) else tensor for name, tensor in plain.items()}
    assert same(files.saved(checkpoint), {**wanted, "alphas_cumprod": torch.ones(3), "v_pred": torch.zeros(0)})
    if not moving_average:
        with pytest.raises(InputError, match="no moving average"):
            files.runner.run(PruneCheckpoint(moving_average=True), checkpoint=checkpoint)


def test_what_is_baked_outlives_pruning(files: Files) -> None:
    lora = random_adapter(files.runner.root / "one", files.runner.root / "lora.safetensors")
    model = replace(files.runner.run(LoadModel(model="one.safetensors")), adapters=(lora,))
    baked = files.runner.run(BakeLoRA(), model=model)
    found = files.saved(files.runner.run(PruneCheckpoint(unet=False, vae=False), checkpoint=baked))
    assert same(found, {name: tensor for name, tensor in files.saved(baked).items() if name.startswith("cond_")})
    assert any(not torch.equal(tensor, files.tensors("one")[name]) for name, tensor in found.items())


@pytest.mark.parametrize("donor", ["other.safetensors", "ldm-vae.safetensors"])
def test_a_baked_in_vae_is_pruned_as_any_other(files: Files, donor: str) -> None:
    baked = files.runner.run(BakeVAE(), checkpoint=files.open("one.safetensors"), vae=files.open(donor))
    whole = files.saved(baked)
    assert same(files.saved(files.runner.run(PruneCheckpoint(), checkpoint=baked)), whole)
    without = files.saved(files.runner.run(PruneCheckpoint(vae=False), checkpoint=baked))
    assert same(without, {name: tensor for name, tensor in whole.items() if not name.startswith(VAE)})


def test_a_merge_is_pruned_of_what_only_its_first_input_has(files: Files) -> None:
    one, other = files.open("one.safetensors"), files.open("other.safetensors")
    bare = files.runner.run(PruneCheckpoint(vae=False, text_encoders=False), checkpoint=other)
    merge = files.runner.run(MergeWeighted(ratio=1), models=[one, bare])
    found = files.saved(files.runner.run(PruneCheckpoint(unet=False), checkpoint=merge))
    assert same(found, {name: tensor for name, tensor in files.tensors("one").items() if not name.startswith(UNET)})


def test_the_average_is_taken_where_there_is_one(files: Files) -> None:
    plain, other = files.tensors("one"), files.tensors("other")
    save_file(with_averages(plain), files.runner.root / "full.safetensors")
    merge = files.runner.run(MergeWeighted(), models=[files.open("full.safetensors"), files.open("other.safetensors")])
    found = files.saved(files.runner.run(PruneCheckpoint(moving_average=True), checkpoint=merge))
    for name in plain:
        if name.startswith(UNET):
            torch.testing.assert_close(found[name], (plain[name] + 1 + other[name]) / 2)


def test_what_a_file_says_of_itself_outlives_a_trained_unet(files: Files) -> None:
    model = with_trained(files, files.runner.run(LoadModel(model="one.safetensors")))
    (artifact,) = files.runner.run(SaveSafetensors(precision="fp32"), model=files.runner.run(AsCheckpoint(), model=model))
    own, found = (metadata_of(file) for file in (files.runner.root / "one.safetensors", artifact.file))
    for name in ("latentloom.descriptions", "modelspec.prediction_type"):
        assert own[name] == found[name]


def metadata_of(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_a_model_whose_vae_was_trained_gets_the_checkpoints(files: Files) -> None:
    model = with_trained(files, files.runner.run(LoadModel(model="one.safetensors")), part="vae", vae=True)
    model = replace(model, vae_digest="the trained one's")
    found = files.runner.run(AsModel(), checkpoint=files.open("one.safetensors"), model=model)
    assert found.vae_digest == found.adapters[0].weights.name
    vae = {name: tensor for name, tensor in load_file(found.adapters[0].weights).items() if name.startswith("vae.")}
    assert vae
    assert not any(torch.equal(tensor, torch.full_like(tensor, 3)) for tensor in vae.values())
    bare = files.runner.run(PruneCheckpoint(vae=False), checkpoint=files.open("one.safetensors"))
    with pytest.raises(InputError, match="VAE was trained") as refused:
        files.runner.run(AsModel(), checkpoint=bare, model=model)
    assert refused.value.field == "model"


def test_only_what_fits_and_is_finite_becomes_a_model(files: Files) -> None:
    model, tensors = files.runner.run(LoadModel(model="one.safetensors")), files.tensors("one")
    layer = f"{UNET}input_blocks.0.0.weight"
    save_file({**tensors, layer: tensors[layer].repeat(1, 3, 1, 1)[:, :9].contiguous()}, files.runner.root / "nine.safetensors")
    save_file({**tensors, layer: torch.full_like(tensors[layer], torch.nan)}, files.runner.root / "nan.safetensors")
    with pytest.raises(InputError, match=r"conv_in\.weight is .* 9, .* in the checkpoint") as refused:
        files.runner.run(AsModel(), checkpoint=files.open("nine.safetensors"), model=model)
    assert refused.value.field == "model"
    with pytest.raises(InputError, match=f"{layer} of nan holds numbers that are not finite"):
        files.runner.run(AsModel(), checkpoint=files.open("nan.safetensors"), model=model)


def test_a_trained_clip_takes_part_without_its_image_encoder(files: Files) -> None:
    model = files.runner.run(LoadModel(model="one"))
    (file,) = (files.runner.root / "one" / "text_encoder").glob("*.safetensors")
    name = next(name for name in load_file(file) if name.endswith("final_layer_norm.weight"))
    trained = {
        f"text_encoder_0.{name.removeprefix('text_model.')}": load_file(file)[name] + 1,
        "text_encoder_0.text_projection.weight": torch.ones(4, 4),
        "image_encoder.visual_projection.weight": torch.ones(4, 4),
    }
    path = files.runner.root / "clip.safetensors"
    save_file(trained, path)
    change = WeightChange(name="CLIP", weights=path, unet=False, text_encoder=True, image_encoder=True)
    checkpoint = files.runner.run(AsCheckpoint(), model=replace(model, adapters=(change,)))
    plain = files.saved(files.open("one"))
    assert same(files.saved(checkpoint), {**plain, f"text_encoder.{name}": plain[f"text_encoder.{name}"] + 1})
