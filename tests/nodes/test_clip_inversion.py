"""TrainImageVariation, InvertCLIP and their files: what is learned, what stays, and what is refused before any training."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from graph_runtime.context import RunContext, SilentReporter
from graph_runtime.errors import Interrupted
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.image_variation.model import ImageVariation, variation_in_use
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import ImageVariationModel
from nodes.diffusion.handles.results import ImageEmbedding
from nodes.diffusion.models.residency import RESIDENT
from nodes.diffusion.training.batches import draw_noise, read_latents
from nodes.methods.invert_clip import InvertCLIP
from nodes.methods.train_image_variation import TrainImageVariation
from nodes.models.load_image_embedding import LoadImageEmbedding
from nodes.models.load_image_variation import LoadImageVariation
from nodes.models.load_model import LoadModel
from nodes.output.save_image_embedding import SaveImageEmbedding
from nodes.output.save_image_variation import SaveImageVariation
from nodes.sampling.sample_variation import SampleVariation
from tests.models import WIDTH, make_model_folder
from tests.nodes.node_runner import NodeRunner, images
from tests.variations import KINDS, add_image_encoder, make_variation_folder


class Table(NodeRunner):
    """A runner with three pictures of 16 pixels and a base."""

    made: ClassVar[list["Table"]] = []

    def __init__(self, root: Path, kind: str = "image variation", **options: Any) -> None:
        super().__init__(root)
        self.made.append(self)
        for number in range(3):
            self.picture(f"p/{number}.png", (16, 16))
        make_variation_folder(self.root / "base", kind, **options)
        self.images = images(self)
        self.model: ImageVariationModel = self.run(LoadImageVariation(model="base"))

    def invert(self, **fields: Any) -> Any:
        return self.run(
            InvertCLIP(**{"max_steps": 3, "batch_size": 2, "precision": "fp32", **fields}), model=self.model, images=self.images
        )


@pytest.fixture(autouse=True)
def tidied() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    for table in Table.made:
        table.cache.close()
    Table.made.clear()
    RESIDENT.clear()


def embeds(embedding: ImageEmbedding) -> torch.Tensor:
    return load_file(embedding.file)["image_embeds"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_vectors_move_and_the_base_does_not(tmp_path: Path, kind: str) -> None:
    table = Table(tmp_path, kind)
    before = {name: value.clone() for name, value in base(table).model.unet.state_dict().items()}
    inverted = table.invert(max_steps=1)
    assert embeds(inverted.mean).shape == embeds(inverted.trained).shape == (1, WIDTH)
    assert (embeds(inverted.mean) != embeds(inverted.trained)).all()
    after = base(table).model.unet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in base(table).model.unet.parameters())
    assert embeds(table.invert(max_steps=1).trained).equal(embeds(inverted.trained))


def opened(model: Any, table: Table) -> ImageVariation:
    with variation_in_use(model, table.located.__getitem__, device=torch.device("cpu")) as base:
        return base


def base(table: Table) -> Any:
    return opened(table.model, table)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_is_that_of_plain_diffusers(tmp_path: Path, kind: str, prediction_type: str) -> None:
    table = Table(tmp_path, kind, prediction_type=prediction_type)
    task, mean = task_of(table, sample_latents=False)
    ours = float(task.loss(0, 0).detach())
    _, draws, drawn, latents = task._denoising._batch
    assert latents.equal(read_latents([draw.view for draw in draws], task._denoising.files, None))
    again = draw_noise(latents.shape, task._denoising.objective.levels, noise_offset=0, seed=0, step=0)
    assert drawn.noise.equal(again.noise)

    folder = table.root / "base"
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    scheduler: Any = DDPMScheduler.from_pretrained(folder / "scheduler")
    noisy = scheduler.add_noise(latents, drawn.noise, drawn.levels)
    target = drawn.noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, drawn.noise, drawn.levels)
    rows = mean.repeat(len(draws), 1)
    context, labels = rows[:, None], None
    if kind == "unclip":
        model = base(table)
        context = model.empty_text.expand(len(draws), -1, -1)
        alpha = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod[0]
        whitened = (rows - model.image_normalizer.mean) / model.image_normalizer.std
        level = torch.cat([torch.ones(WIDTH // 2), torch.zeros(WIDTH // 2)]).expand(len(draws), -1)  # cos 0, sin 0
        labels = torch.cat([alpha.sqrt() * whitened * model.image_normalizer.std + model.image_normalizer.mean, level], dim=1)
    with torch.no_grad():
        prediction = unet(noisy, drawn.levels, encoder_hidden_states=context, class_labels=labels).sample
    assert ours == pytest.approx(float(torch.nn.functional.mse_loss(prediction, target)), rel=1e-5)


def task_of(table: Table, **fields: Any) -> tuple[Any, torch.Tensor]:
    from nodes.methods.shown_pictures import embed_views, encode_views

    node = InvertCLIP(**{"batch_size": 2, **fields})
    context = RunContext(store=table.cache, located=table.located, device="cpu")
    files = embed_views(table.images, table.model.clip_digest, lambda: base(table).embed, context)
    latents = encode_views(table.images, table.model.vae_digest, lambda: base(table).model, context)
    mean, task = node._task(base(table), node, latents, files)
    return task, mean


@pytest.mark.parametrize(("kind", "vectors"), [("image variation", 1), ("image variation", 3), ("unclip", 1)])
def test_trained_beats_the_mean_at_fixed_noise(tmp_path: Path, kind: str, vectors: int) -> None:
    table = Table(tmp_path, kind)
    metrics = Metrics()
    table.invert(max_steps=60, learning_rate=0.2, vectors=vectors)
    context = RunContext(store=table.cache, located=table.located, device="cpu", reporter=metrics)
    node = InvertCLIP(max_steps=60, batch_size=3, learning_rate=0.2, vectors=vectors, precision="fp32")
    inverted = node.run(table.model, table.images, context)
    assert inverted.trained.vectors == vectors
    first, last = metrics.fixed[0], metrics.fixed[60]
    assert last < first


class Metrics(SilentReporter):
    """Notes the loss at fixed noise by step."""

    def __init__(self) -> None:
        self.fixed: dict[int, float] = {}

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        if "fixed_noise_loss" in values:
            self.fixed[step] = values["fixed_noise_loss"]


def test_the_pull_keeps_the_vectors_near_the_mean(tmp_path: Path) -> None:
    table = Table(tmp_path)
    distances = []
    for pull in (0.0, 100.0):
        inverted = table.invert(max_steps=20, learning_rate=0.05, pull=pull)
        distances.append(float((embeds(inverted.trained) - embeds(inverted.mean)).norm()))
    assert distances[1] < 0.5 * distances[0]


class Stopping(SilentReporter):
    """Lets the person ask to stop after a step."""

    def __init__(self) -> None:
        self.step = 0

    def progress(self, step: int, total: int) -> None:
        self.step = step


@pytest.mark.parametrize("method", ["invert", "train"])
def test_a_stopped_training_ends_with_the_same_bytes(tmp_path: Path, method: str) -> None:
    table = Table(tmp_path)
    node, inputs = InvertCLIP(max_steps=4, batch_size=2), {"model": table.model, "images": table.images}
    if method == "train":
        node, inputs = training(table, max_steps=4)
    whole = node.run(context=RunContext(store=table.cache, located=table.located, device="cpu"), **inputs)
    reporter, folder = Stopping(), tmp_path / "progress"
    folder.mkdir()
    context = RunContext(store=table.cache, located=table.located, device="cpu", reporter=reporter, progress_folder=folder)
    context.stop_requested = lambda: reporter.step == 2
    with pytest.raises(Interrupted):
        node.run(context=context, **inputs)
    context.stop_requested = lambda: False
    again = node.run(context=context, **inputs)
    first, second = (found.weights if method == "train" else found.trained.file for found in (whole, again))
    assert first.read_bytes() == second.read_bytes()


def training(table: Table, **fields: Any) -> tuple[TrainImageVariation, dict[str, Any]]:
    from nodes.data.encode_latents import EncodeLatents

    model = table.run(LoadModel(model="base"))
    latents = table.run(EncodeLatents(), model=model, images=table.images)
    node = TrainImageVariation(**{"max_steps": 2, "batch_size": 2, "learning_rate": 1e-2, "precision": "fp32", **fields})
    return node, {"model": model, "latents": latents, "images": table.images}


@pytest.mark.parametrize("weights", ["all", "cross-attention"])
def test_a_base_is_trained_saved_and_loaded(tmp_path: Path, weights: str) -> None:
    table = Table(tmp_path)
    node, inputs = training(table, weights=weights, embedding_dropout=0.5)
    trained = table.run(node, **inputs)
    changed = load_file(trained.weights)
    original = load_file(table.root / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    moved = {name.removeprefix("unet.") for name in changed if not changed[name].equal(original[name.removeprefix("unet.")])}
    values = {name for name in original if ".attn2.to_v." in name or ".attn2.to_out." in name}
    unreached = {name for name in original if ".attn2." in name or "blocks.0.norm2" in name} - values
    assert moved == (values if weights == "cross-attention" else {*original} - unreached)
    assert len(unreached) == 4 * len(values) // 3
    (artifact,) = table.run(SaveImageVariation(precision="fp32"), model=trained)
    (table.root / artifact.name).write_bytes(artifact.file.read_bytes())
    assert load_file(artifact.file).keys() == original.keys()
    loaded = table.run(LoadImageVariation(model=artifact.name, base="base"))
    assert (loaded.embedding_width, loaded.conditioning) == (WIDTH, "image variation")
    drawn = [
        table.run(SampleVariation(num_inference_steps=2, images_per_row=1), model=m, images=table.images)
        for m in (trained, loaded)
    ]
    assert [image.file.read_bytes() for image in drawn[0].images] == [image.file.read_bytes() for image in drawn[1].images]
    assert [image.label for image in drawn[0].images] == [picture.name for picture in table.images.pictures]


def test_a_view_is_trained_with_its_own_embedding(tmp_path: Path, monkeypatch) -> None:
    table = Table(tmp_path)
    table.images = images(table, flip=True)
    node, inputs = training(table, max_steps=6, batch_size=3, embedding_dropout=0.0)
    seen: set[tuple[Any, bytes]] = set()
    original = diffusion.training.own_views

    def own_views(task: Any, draws: Any) -> Any:
        found = original(task, draws)
        seen.update((draw.view.file, found["hidden"][n].numpy().tobytes()) for n, draw in enumerate(draws))
        return found

    monkeypatch.setattr(diffusion.training, "own_views", own_views)
    table.run(node, **inputs)
    assert len({view for view, _ in seen}) == len(seen) == len({embedding for _, embedding in seen}) == 6


def test_latents_of_other_views_are_refused_before_any_picture_is_looked_at(tmp_path: Path, monkeypatch) -> None:
    table = Table(tmp_path)
    node, inputs = training(table)
    monkeypatch.setattr("nodes.methods.train_image_variation.embed_views", lambda *_: pytest.fail("a picture was embedded"))
    first, *others = inputs["latents"].items
    moved = replace(first, views=(replace(first.views[0], crop=(1, 0)),))
    for items in ([moved, *others], [first, *others, first], [*others, first]):
        latents = replace(inputs["latents"], items=tuple(items))
        assert refused(lambda latents=latents: table.run(node, **{**inputs, "latents": latents})).field == "latents"
    other = replace(inputs["latents"], vae_digest="other")
    assert refused(lambda: table.run(node, **{**inputs, "latents": other})).field == "latents"


def test_an_encoder_kept_in_half_precision_embeds_in_full(tmp_path: Path) -> None:
    table = Table(tmp_path)
    folder = table.root / "base" / "image_encoder"
    CLIPVisionModelWithProjection.from_pretrained(folder).half().save_pretrained(folder)
    table.model = table.run(LoadImageVariation(model="base"))
    inverted = table.invert(learning_rate=1e-6)
    assert embeds(inverted.trained).dtype == torch.float32
    assert not embeds(inverted.trained).equal(embeds(inverted.mean))
    assert not embeds(inverted.trained).half().float().equal(embeds(inverted.trained))


def test_bases_of_the_same_folders_in_other_roles_are_apart(tmp_path: Path) -> None:
    table = Table(tmp_path)
    make_variation_folder(table.root / "other", "image variation", seed=1)
    other = table.run(LoadImageVariation(model="other"))
    digests = [dict(table.model.parts), dict(other.parts)]
    mixed = [
        replace(table.model, parts=tuple((name, digests[(name == "vae") ^ swapped][name]) for name, _ in table.model.parts))
        for swapped in (0, 1)
    ]
    first, second = (opened(model, table).model.parts for model in mixed)
    assert first.identity != second.identity
    assert first.part("unet") is not second.part("unet")
    assert first.folder_of("vae").parent.name == second.folder_of("unet").parent.name == "other"


def test_zero_terminal_snr_outlives_the_file(tmp_path: Path) -> None:
    table = Table(tmp_path, prediction_type="v_prediction")
    node, inputs = training(table, zero_terminal_snr=True)
    trained = table.run(node, **inputs)
    (artifact,) = table.run(SaveImageVariation(), model=trained)
    (table.root / artifact.name).write_bytes(artifact.file.read_bytes())
    assert trained.zero_terminal_snr
    assert table.run(LoadImageVariation(model=artifact.name, base="base")).zero_terminal_snr


def test_an_embedding_is_saved_and_loaded(tmp_path: Path) -> None:
    table = Table(tmp_path)
    inverted = table.invert(vectors=2)
    (artifact,) = table.run(SaveImageEmbedding(filename="fox"), embedding=inverted.trained)
    assert artifact.name == "fox.safetensors"
    (table.root / artifact.name).write_bytes(artifact.file.read_bytes())
    loaded = table.run(LoadImageEmbedding(file="fox.safetensors"))
    assert (loaded.vectors, loaded.width, loaded.label) == (2, WIDTH, "fox")
    assert embeds(loaded).equal(embeds(inverted.trained))
    drawn = table.run(
        SampleVariation(num_inference_steps=1, images_per_row=2), model=table.model, embeddings=[inverted.mean, loaded]
    )
    assert [(image.label, image.seed) for image in drawn.images] == [("mean", 0), ("mean", 1), ("fox", 0), ("fox", 1)]


def refused(call: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_bad_embeddings_are_refused(tmp_path: Path) -> None:
    table = Table(tmp_path, "unclip")
    wide = ImageEmbedding(file=tmp_path, vectors=1, width=WIDTH + 1, label="other")
    several = ImageEmbedding(file=tmp_path, vectors=2, width=WIDTH, label="two")
    for given in ([wide], [several], []):
        assert (
            refused(lambda given=given: table.run(SampleVariation(), model=table.model, embeddings=given)).field == "embeddings"
        )
    assert refused(lambda: table.invert(vectors=2)).field == "vectors"
    save_file({"other": torch.zeros(1, 2)}, table.root / "other.safetensors")
    (table.root / "broken.safetensors").write_bytes(b"no")
    for name in ("other.safetensors", "broken.safetensors", "missing.safetensors"):
        assert refused(lambda name=name: table.run(LoadImageEmbedding(file=name))).field == "file"


def test_bad_bases_are_refused(tmp_path: Path) -> None:
    table = Table(tmp_path)
    plain = make_model_folder(table.root / "plain", "sd1")
    assert "image_encoder" in str(refused(lambda: table.run(LoadImageVariation(model="plain", base="plain"))))
    add_image_encoder(plain, width=WIDTH // 2)
    assert "width" in str(refused(lambda: table.run(LoadImageVariation(model="plain"))))
    for name in ("nowhere", "p/0.png"):
        assert refused(lambda name=name: table.run(LoadImageVariation(model=name))).field == "model"
    node, inputs = training(table)
    narrow = table.run(LoadModel(model="plain"))
    assert refused(lambda: table.run(node, **{**inputs, "model": narrow})).field == "clip"
    adapter = LowRankAdapter(rank=1, alpha=1, unet_targets=())
    applied = replace(inputs["model"], adapters=(adapter,))
    assert refused(lambda: table.run(node, **{**inputs, "model": applied})).field == "model"
    make_model_folder(table.root / "xl", "sdxl")
    sdxl = table.run(LoadModel(model="xl"))
    assert refused(lambda: table.run(node, **{**inputs, "model": sdxl})).field == "model"
    assert refused(lambda: table.run(node, **{**inputs, "model": replace(narrow, initial_seed=0)})).field == "model"
    bare = make_model_folder(table.root / "bare", "sd2")
    assert bare.is_dir()
    assert refused(lambda: table.run(node, **{**inputs, "model": table.run(LoadModel(model="bare"))})).field == "clip"
    assert refused(lambda: table.run(TrainImageVariation(clip="p"), **inputs)).field == "clip"
    other = replace(inputs["latents"], vae_digest="other")
    assert refused(lambda: table.run(node, **{**inputs, "latents": other})).field == "latents"


def test_the_bundled_base_opens_by_its_name(tmp_path: Path) -> None:
    table = Table(tmp_path)
    bundled = table.run(LoadImageVariation())
    assert (bundled.conditioning, bundled.prediction_type, bundled.resolution) == ("image variation", "v_prediction", 128)
    assert bundled.vae_digest == table.run(LoadModel()).vae_digest
    drawn = table.run(SampleVariation(num_inference_steps=1, images_per_row=1), model=bundled, images=table.images)
    assert len(drawn.images) == 3
