"""Z-Image alone: what its parts, its names and its loss have that other families have not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from safetensors.torch import load_file

from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.z_image.facts import Z_IMAGE
from nodes.diffusion.formats.single_file.header import SingleFile
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.training.denoising_task import DenoisingTask
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.merge_block_weighted import MergeBlockWeighted
from nodes.merging.rebasin_weights import RebasinWeights
from nodes.methods.train_lora import TrainLoRA
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.flow_models import make_z_image_folder
from tests.nodes.node_runner import NodeRunner
from tests.nodes.test_flow_families import dataset, in_use
from tests.published import empty_parts


@pytest.fixture
def model(runner: NodeRunner) -> DiffusionModel:
    make_z_image_folder(runner.root / "m")
    return runner.run(LoadModel(model="m"))


def test_embeddings_are_kept_in_bf16_each_as_long_as_its_caption(runner: NodeRunner, model: DiffusionModel) -> None:
    items = dataset(runner, model)["embeddings"].items
    kept = [load_file(item.files[0])["hidden"] for item in items]
    assert {tensor.dtype for tensor in kept} == {torch.bfloat16}
    frame = len("user\n") + len("\n") + len("assistant\n") + 3
    assert [len(tensor) for tensor in kept] == [len(item.captions[0]) + frame for item in items]


def test_a_step_s_loss_is_that_of_plain_torch(runner: NodeRunner, model: DiffusionModel) -> None:
    data, injected = dataset(runner, model), runner.run(InjectLoRA(rank=2), model=model)
    settings = {"batch_size": 2, "precision": "fp32", "sample_latents": False, "loss_weighting": "cosmap", "seed": 3}
    node = TrainLoRA(**settings)
    with in_use(runner, injected) as loaded:
        task = DenoisingTask(loaded, node, data["latents"], data["embeddings"])
        loss = float(task.loss(0, 0).detach())
        _, draws, random, latents = task._batch or pytest.fail("no batch")
    transformer: Any = ZImageTransformer2DModel.from_pretrained(runner.root / "m" / "transformer")
    noise, sigma = random.noise, random.levels
    noisy = [(1 - s) * x + s * e for s, x, e in zip(sigma, latents, noise, strict=True)]
    texts = [load_file(data["embeddings"].items[draw.item].files[0])["hidden"].float() for draw in draws]
    out = transformer([each[:, None] for each in noisy], 1 - sigma, texts, return_dict=False)[0]
    errors = [((-o[:, 0] - (e - x)) ** 2).mean() for o, e, x in zip(out, noise, latents, strict=True)]
    weights = 2 / (torch.pi * (1 - 2 * sigma + 2 * sigma**2))
    assert loss == pytest.approx(float((torch.stack(errors) * weights).mean().detach()), rel=1e-4)


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_parts_of_other_models_are_named(runner: NodeRunner, model: DiffusionModel) -> None:
    changed(runner.root / "m" / "vae" / "config.json", latent_channels=4)
    with pytest.raises(InputError, match="the VAE of m has 4 channels, and Z-Image needs 16"):
        runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "transformer" / "config.json", in_channels=4)
    runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "transformer" / "config.json", in_channels=16)
    changed(runner.root / "m" / "vae" / "config.json", latent_channels=16)
    changed(runner.root / "m" / "text_encoder" / "config.json", hidden_size=64)
    with pytest.raises(InputError, match="gives 64 numbers for a token, and its transformer takes 32"):
        runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "text_encoder" / "config.json", hidden_size=32)
    with pytest.raises(InputError, match="too few text-encoder layers to drop"):
        runner.run(LoadModel(model="m", clip_skip=1))


def test_published_configurations_have_the_published_sizes() -> None:
    parts = empty_parts("z_image")
    assert [round(parts[part].num_parameters() / 1e6) for part in ("transformer", "text_encoder", "vae")] == [6155, 4022, 84]
    tokenizer = Z_IMAGE.vocabulary()
    assert {"vocab.json", "merges.txt", "tokenizer_config.json"} == set(tokenizer)


def test_a_file_s_name_tells_turbo_from_base(tmp_path: Path) -> None:
    shapes = {"cap_embedder.1.weight": (3840, 2560), **{f"layers.{n}.adaLN_modulation.0.weight": (1, 1) for n in range(30)}}
    shifts = [
        Z_IMAGE.configurations(SingleFile(tmp_path / name, shapes, {}))["scheduler/scheduler_config.json"]["shift"]
        for name in ("z_image_turbo_bf16.safetensors", "z_image_bf16.safetensors")
    ]
    assert shifts == [3.0, 6.0]
    with pytest.raises(InputError, match="width 3840 and 1 blocks where 3840 and 30 are published"):
        Z_IMAGE.configurations(SingleFile(tmp_path / "z.safetensors", dict(list(shapes.items())[:2]), {}))


def test_its_transformers_are_merged_by_its_own_blocks(runner: NodeRunner, model: DiffusionModel) -> None:
    other = runner.run(LoadModel(model=make_z_image_folder(runner.root / "n", seed=1).name))
    a, b = (runner.run(AsCheckpoint(), model=each) for each in (model, other))
    merged = runner.run(MergeBlockWeighted(ratio=0.5, blocks="L00=1, L01=0"), a=a, b=b)
    found = load_file(runner.run(SaveSafetensors(precision="fp32"), model=merged)[0].file)
    first, second = (load_file(next((runner.root / name / "transformer").glob("*.safetensors"))) for name in "mn")
    for name, expected in (("layers.0.attention.to_q.weight", second), ("layers.1.feed_forward.w1.weight", first)):
        assert torch.equal(found[f"transformer.{name}"], expected[name])
    name = "context_refiner.0.attention.to_q.weight"
    torch.testing.assert_close(found[f"transformer.{name}"], (first[name] + second[name]) / 2)
    first, second = (load_file(next((runner.root / part / "text_encoder").glob("*.safetensors"))) for part in "mn")
    name = "layers.0.mlp.up_proj.weight"
    torch.testing.assert_close(found[f"text_encoder.{name}"], (first[name] + second[name]) / 2)
    with pytest.raises(InputError, match="nobody has described which rows"):
        runner.run(RebasinWeights(), model=a, reference=b)
    with pytest.raises(InputError, match="no block 'IN00'"):
        runner.run(MergeBlockWeighted(blocks="IN00=0.5"), a=a, b=b)
