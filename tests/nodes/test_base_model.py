"""A model from nothing: scenes, VAE, CLIP, UNet and the folder that is written."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

from graph_runtime.context import RunContext, SilentReporter
from graph_runtime.errors import Interrupted
from nodes.adapters.apply_aesthetic_gradient import ApplyAestheticGradient
from nodes.data.compose_scenes import ComposeScenes
from nodes.data.encode_latents import EncodeLatents
from nodes.data.load_images import LoadImages
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.tensor_names.autoencoder_kl import AutoencoderKLNames
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models.latent_space import ScaledLatents
from nodes.diffusion.pictures.pictures import open_cutout
from nodes.diffusion.pictures.scenes import Cutout, draw_scene
from nodes.diffusion.training import vae
from nodes.diffusion.training.clip import TrainedCLIP
from nodes.diffusion.training.vae import with_unit_latents
from nodes.methods.build_aesthetic_embedding import BuildAestheticEmbedding
from nodes.methods.shown_pictures import repeated
from nodes.methods.train_clip import TrainCLIP
from nodes.methods.train_vae import TrainVAE
from nodes.models.load_model import LoadModel
from nodes.models.new_model import NewModel
from nodes.output.save_pipeline import SavePipeline
from tests.models import shared_model
from tests.nodes import node_runner
from tests.nodes.node_runner import NodeRunner
from tests.variations import make_variation_folder

EMOJI = Path(__file__).parent.parent / "data" / "emoji"


class Bench(NodeRunner):
    """A runner with the cut-outs of the tests and the descriptions of a small model with an image encoder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        make_variation_folder(self.root / "base", "image variation")
        config = self.root / "base" / "text_encoder" / "config.json"
        config.write_text(config.read_text().replace('"CLIPTextModel"', '"CLIPTextModelWithProjection"'))
        for file in (self.root / "base").rglob("*.safetensors"):
            file.unlink()

    def scenes(self, **fields: Any) -> CaptionedDataset:
        images = self.run(LoadImages(folder=str(EMOJI), resolution=128))
        return self.run(ComposeScenes(**{"resolution": 32, "scenes_per_picture": 4, **fields}), images=images)

    def new(self, seed: int = 0) -> DiffusionModel:
        return self.run(NewModel(model="base", seed=seed))


@pytest.mark.parametrize("layout", ["folder", "LDM"])
def test_a_new_model_may_have_a_trained_vae(bench: Bench, layout: str) -> None:
    vae = write_vae(bench, layout)
    model = bench.run(NewModel(model="base", vae="trained.safetensors"))
    assert model.vae_digest != bench.new().vae_digest
    assert bench.run(NewModel(model="base", vae="trained.safetensors", seed=1)).vae_digest == model.vae_digest
    (artifact,) = bench.run(SavePipeline(precision="fp32"), model=model)
    kept = load_file(dict(artifact.folder)["vae/diffusion_pytorch_model.safetensors"])
    assert kept.keys() == vae.keys()
    assert all(kept[name].equal(tensor) for name, tensor in vae.items())


def test_a_vae_that_does_not_fit_is_refused_before_the_run(bench: Bench) -> None:
    with pytest.raises(InputError, match=r"there is no \.safetensors file 'nowhere\.safetensors'"):
        bench.run(NewModel(model="base", vae="nowhere.safetensors"))
    save_file({"x": torch.zeros(1)}, bench.root / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors holds no VAE, and base describes one of 4"):
        bench.run(NewModel(model="base", vae="x.safetensors"))
    save_file({"decoder.conv_in.weight": torch.zeros(8, 16, 3, 3)}, bench.root / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors holds a VAE of 16 channels, and base describes one of 4"):
        bench.run(NewModel(model="base", vae="x.safetensors"))


def write_vae(bench: Bench, layout: str) -> dict[str, torch.Tensor]:
    """Write the weights of a VAE of the described size by a folder's or LDM's names, and return them by a folder's."""
    config = json.loads((bench.root / "base" / "vae" / "config.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        vae: Any = AutoencoderKL.from_config(config)
    tensors: dict[str, torch.Tensor] = vae.state_dict()
    names = AutoencoderKLNames(len(config["block_out_channels"]))
    written = {name: (names.to_file(name) or pytest.fail(name)) for name in tensors} if layout == "LDM" else {}
    spelled = {
        own.name: tensors[name][:, :, None, None].contiguous() if own.conversion == "conv" else tensors[name]
        for name, own in written.items()
    }
    save_file(spelled or tensors, bench.root / "trained.safetensors")
    return tensors


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path)
    # the pictures of the tests are outside of the runner's workspace
    monkeypatch.setattr(node_runner, "NODES", EMOJI.parent.parent.parent)
    yield made
    made.cache.close()


def vae_settings(**fields: Any) -> TrainVAE:
    return TrainVAE(**{"max_steps": 60, "batch_size": 4, "learning_rate": 1e-2, "precision": "fp32", **fields})


class Numbers(SilentReporter):
    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}
        self.step = 0

    def progress(self, step: int, total: int) -> None:
        self.step = step

    def metric(self, step: int, values: Any) -> None:
        for name, value in values.items():
            self.found.setdefault(name, []).append(value)


def numbers(bench: Bench, node: Any, **inputs: Any) -> tuple[Any, dict[str, list[float]]]:
    reporter = Numbers()
    result = node.run(**inputs, context=RunContext(store=bench.cache, located=bench.located, reporter=reporter, device="cpu"))
    return result, reporter.found


def test_scenes_follow_the_seed_and_say_what_they_show(bench: Bench) -> None:
    scenes = bench.scenes(colored=0.5, two_objects=0.3, other_styles="zwx, sks", other_style=0.3)
    assert scenes == bench.scenes(colored=0.5, two_objects=0.3, other_styles="zwx, sks", other_style=0.3)
    assert scenes != bench.scenes(colored=0.5, two_objects=0.3, other_styles="zwx, sks", other_style=0.3, seed=1)
    assert len(scenes.pictures) == len({picture.digest for picture in scenes.pictures}) == 4 * 12
    captions = [caption for (caption,) in scenes.captions]
    assert all(any(word in caption for word in ("apple", "owl", "rocket")) for caption in captions)
    for word in ("zwx", "flat", "3d", " and ", " background"):
        assert any(word in caption for caption in captions)
    for picture, caption in zip(scenes.pictures, captions, strict=True):
        assert picture.file
        corner = Image.open(picture.file).convert("RGB").getpixel((0, 0))
        assert ("background" in caption) == (corner != (255, 255, 255)), caption


def test_cut_outs_keep_their_shape_and_need_no_style() -> None:
    bar = Cutout(Image.new("RGBA", (200, 50), (0, 0, 0, 255)), "bar", "")
    for seed in range(20):
        scene = draw_scene([bar], 128, as_is=0, colored=0, other_styles=(), other_style=0, draw=random.Random(seed))
        left, top, right, bottom = ImageOps.invert(scene.image.convert("L")).getbbox() or (0, 0, 0, 0)
        assert abs((right - left) - 4 * (bottom - top)) <= 4
        assert scene.caption in ("bar", "a picture of bar")


def test_objects_can_be_shown_as_they_are() -> None:
    bar = Cutout(Image.linear_gradient("L").resize((200, 50)).convert("RGBA"), "bar", "")
    for seed in range(5):
        scene = draw_scene([bar], 128, as_is=1, colored=0, other_styles=(), other_style=0, draw=random.Random(seed))
        expected = Image.new("RGB", (128, 128), "white")
        expected.paste(bar.image.resize((128, 32), Image.Resampling.LANCZOS).convert("RGB"), (0, 48))
        assert scene.image.tobytes() == expected.tobytes()


def test_pictures_of_several_sizes_need_a_crop(bench: Bench) -> None:
    for number, size in enumerate(((128, 64), (64, 128))):
        bench.picture(f"photos/{number}.png", size)
    images = bench.run(LoadImages(folder="photos", resolution=64, buckets=True, bucket_step=8))
    assert len({picture.views[0].size for picture in images.pictures}) == 2
    for crop, words in ((0, "several sizes"), (512, "smaller than crop")):
        with pytest.raises(InputError, match=words):
            bench.run(vae_settings(crop=crop), model=bench.new(), images=images)


def test_pictures_without_text_are_refused(bench: Bench) -> None:
    bench.picture("plain/a.png")
    images = bench.run(LoadImages(folder="plain", resolution=32))
    with pytest.raises(InputError, match=r"a\.png") as refused:
        bench.run(ComposeScenes(), images=images)
    assert refused.value.field == "images"


def test_weights_follow_the_seed(bench: Bench, tmp_path: Path) -> None:
    one, again, other = bench.new(), bench.new(), bench.new(1)
    assert one == again != other
    files = [dict(bench.run(SavePipeline(precision="fp32"), model=model)[0].folder) for model in (one, again, other)]
    name = "unet/diffusion_pytorch_model.safetensors"
    assert files[0][name].read_bytes() == files[1][name].read_bytes() != files[2][name].read_bytes()


def test_a_new_vae_learns_and_its_latents_have_deviation_one(bench: Bench) -> None:
    scenes, model = bench.scenes(), bench.new()
    trained, found = numbers(bench, vae_settings(crop=16, validation_every=1), model=model, images=scenes)
    assert found["psnr"][-1] > found["psnr"][0] + 2
    assert trained.vae_digest != model.vae_digest
    latents = bench.run(EncodeLatents(), model=trained, images=scenes)
    means = torch.cat([load_file(item.views[0].file)["mean"].flatten() for item in latents.items])
    assert float(means.std()) == pytest.approx(1, abs=0.05)


def test_scaled_latents_draw_the_same(bench: Bench) -> None:
    config = AutoencoderKL.load_config(bench.root / "base" / "vae")
    vae, scaled = AutoencoderKL.from_config(config), AutoencoderKL.from_config(config)
    scaled.load_state_dict(with_unit_latents(vae.state_dict(), 4, 2.5))
    picture = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        posteriors = [v.encode(picture).latent_dist for v in (vae, scaled)]
        assert torch.allclose(posteriors[1].mean, 2.5 * posteriors[0].mean, atol=1e-5)
        assert torch.allclose(posteriors[1].std, 2.5 * posteriors[0].std, atol=1e-5)
        drawn = [v.decode(p.mean).sample for v, p in zip((vae, scaled), posteriors, strict=True)]
    assert torch.allclose(*drawn, atol=1e-5)


def test_of_a_trained_model_only_the_decoder_changes(bench: Bench) -> None:
    trained = bench.run(vae_settings(max_steps=1), model=bench.run(LoadModel()), images=bench.scenes())
    names = load_file(trained.adapters[-1].weights).keys()
    assert {name.split(".")[1] for name in names} == {"decoder", "post_quant_conv"}


def test_a_clip_learns_which_caption_is_whose(bench: Bench) -> None:
    scenes = bench.scenes(colored=0, two_objects=0, scenes_per_picture=8)
    settings = TrainCLIP(max_steps=60, batch_size=24, learning_rate=3e-3, precision="fp32", validation_fraction=0)
    trained, found = numbers(bench, settings, model=bench.new(), captions=scenes)
    assert sum(found["loss"][-5:]) < 0.8 * sum(found["loss"][:5])
    names = load_file(trained.adapters[-1].weights).keys()
    assert {name.split(".")[0] for name in names} == {"text_encoder_0", "image_encoder"}
    assert "text_encoder_0.text_projection.weight" in names
    assert "logit_scale" not in names


def test_a_vae_whose_latents_a_unet_knows_keeps_them(bench: Bench) -> None:
    scenes = bench.scenes()
    model = bench.run(vae_settings(max_steps=1), model=bench.new(), images=scenes)
    learned = WeightChange(name="fine-tuned", weights=bench.root / "none.safetensors")
    save_file({}, bench.root / "none.safetensors")
    model = replace(model, adapters=(*model.adapters, learned))
    again = bench.run(vae_settings(max_steps=1), model=model, images=scenes)
    assert again.vae_digest == model.vae_digest
    assert {name.split(".")[1] for name in load_file(again.adapters[-1].weights)} <= {"decoder", "post_quant_conv"}


def test_the_deviation_is_that_of_all_pictures_not_of_the_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae, "MEASURED", 60)
    untrained = AutoencoderKL.from_config(AutoencoderKL.load_config(bench.root / "base" / "vae"))
    noise = torch.Generator().manual_seed(0)
    pictures = [torch.randn(3, 32, 32, generator=noise) * (0.01 if number < 60 else 1) for number in range(120)]
    task = vae.VAETask(ScaledLatents(untrained), vae_settings(), [partial(torch.clone, p) for p in pictures], range(120), 0, 0, 0)
    found = task.latent_deviation()
    with torch.no_grad():
        first, all_of_them = (
            float(untrained.encode(torch.stack(some)).latent_dist.mean.std()) for some in (pictures[:60], pictures)
        )
    assert abs(found - all_of_them) < 0.3 * abs(first - all_of_them)


def test_near_captions_are_told_apart_in_half_precision(bench: Bench) -> None:
    model = shared_model(bench.new(), bench.located[bench.new().digest])
    clip = TrainedCLIP(model, None)
    pictures = [torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = clip.similarities(pictures, [f"a {n}" for n in range(6)])
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_repeats_count_in_every_training(bench: Bench) -> None:
    bench.picture("photos/3_apple/a.png", (64, 64))
    bench.picture("photos/1_owl/b.png", (64, 64))
    for name in ("3_apple/a", "1_owl/b"):
        (bench.root / "photos" / f"{name}.txt").write_text(name[2:-2])
    images = bench.run(LoadImages(folder="photos", resolution=64))
    assert repeated(images, set()) == [0, 1, 1, 1]
    assert repeated(images, {1}) == [0]
    scenes = bench.run(ComposeScenes(scenes_per_picture=2, resolution=32), images=images)
    assert [picture.repeats for picture in scenes.pictures] == [1, 1, 3, 3]
    assert not any("3_" in caption for (caption,) in scenes.captions)


def test_cut_outs_are_upright_shrunk_and_not_clipped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (400, 100), (255, 0, 0, 128)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.full((9, 9), 32768, np.uint16)).save(tmp_path / "deep.png")
    turned, deep = (open_cutout(tmp_path / f"{name}.png", 128) for name in ("turned", "deep"))
    assert (turned.mode, turned.size, turned.getpixel((5, 5))) == ("RGBA", (32, 128), (255, 0, 0, 128))
    assert deep.getpixel((3, 3))[0] in (127, 128)


def test_a_clip_needs_captions_that_differ(bench: Bench) -> None:
    scenes = bench.scenes(scenes_per_picture=1)
    alike = replace(scenes, captions=(("apple",),) * len(scenes.captions))
    with pytest.raises(InputError, match="one caption") as refused:
        bench.run(TrainCLIP(max_steps=1), model=bench.new(), captions=alike)
    assert refused.value.field == "captions"
    bench.run(TrainCLIP(max_steps=1, precision="fp32"), model=bench.new(), captions=scenes)
    assert any("every batch is all of them" in text for text in bench.messages.texts)


def test_a_new_models_own_clip_is_no_folders(bench: Bench) -> None:
    images, model = bench.run(LoadImages(folder=str(EMOJI), resolution=32)), bench.new()
    looks = replace(bench.run(LoadModel()), adapters=(WeightChange(name="CLIP", image_encoder=True, weights=EMOJI),))
    for node, wires in (
        (BuildAestheticEmbedding(), {"images": images, "model": model}),
        (BuildAestheticEmbedding(), {"images": images, "model": looks}),
        (ApplyAestheticGradient(), {"embedding": None, "model": looks}),
    ):
        with pytest.raises(InputError, match="lies in no folder") as refused:
            bench.run(node, **wires)
        assert refused.value.field == "model"


def test_a_new_model_keeps_its_schedule(bench: Bench) -> None:
    config = bench.root / "base" / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rescale_betas_zero_snr": True}))
    assert bench.new().zero_terminal_snr


@pytest.mark.parametrize("kind", ["vae", "clip"])
def test_a_stopped_training_ends_with_the_same_bytes(bench: Bench, tmp_path: Path, kind: str) -> None:
    scenes, model = bench.scenes(), bench.new()
    node: Any = vae_settings(max_steps=4, batch_size=2)
    inputs: dict[str, Any] = {"model": model, "images": scenes}
    if kind == "clip":
        node = TrainCLIP(max_steps=4, batch_size=4, precision="fp32")
        inputs = {"model": model, "captions": scenes}
    whole = bench.run(node, **inputs)
    reporter, folder = Numbers(), tmp_path / "progress"
    folder.mkdir()
    context = RunContext(store=bench.cache, located=bench.located, device="cpu", reporter=reporter, progress_folder=folder)
    context.stop_requested = lambda: reporter.step == 2
    with pytest.raises(Interrupted):
        node.run(context=context, **inputs)
    context.stop_requested = lambda: False
    assert node.run(context=context, **inputs) == whole


def test_the_folder_opens_in_diffusers_and_here(bench: Bench, tmp_path: Path) -> None:
    scenes = bench.scenes()
    model = bench.run(vae_settings(max_steps=1), model=bench.new(), images=scenes)
    model = bench.run(TrainCLIP(max_steps=1, batch_size=4), model=model, captions=scenes)
    (artifact,) = bench.run(SavePipeline(precision="fp32"), model=model)
    for name, file in artifact.folder:
        path = bench.root / "saved" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read_bytes())
    pipeline = StableDiffusionPipeline.from_pretrained(bench.root / "saved")
    assert pipeline.image_encoder is not None
    loaded = bench.run(LoadModel(model="saved"))
    latents = [bench.run(EncodeLatents(), model=m, images=scenes) for m in (model, loaded)]
    first, second = (load_file(found.items[0].views[0].file)["mean"] for found in latents)
    assert torch.allclose(first, second, atol=1e-5)
    written = load_file(bench.root / "saved" / "image_encoder" / "model.safetensors")
    trained = load_file(model.adapters[-1].weights)
    assert all(tensor.equal(trained[f"image_encoder.{name}"]) for name, tensor in written.items())
