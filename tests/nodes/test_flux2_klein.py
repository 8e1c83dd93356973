"""FLUX.2 klein alone: its two sizes, its latents, its text, its names and its loss."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from safetensors.torch import load_file, save_file
from torch import Tensor

from nodes.adapters.inject_lora import InjectLoRA
from nodes.adapters.load_lora import LoadLoRA
from nodes.data.encode_captions import EncodeCaptions
from nodes.diffusion.adapters.lora.apply import adapter_tensors
from nodes.diffusion.adapters.model_in_use import model_in_use
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import encode_prompts, latent_space, make_scheduler, objective
from nodes.diffusion.families.flux2_klein.code import shift_factor
from nodes.diffusion.families.flux2_klein.facts import KLEIN_4B, KLEIN_9B, Flux2KleinFamily
from nodes.diffusion.families.registry import family_of_denoiser, family_of_file
from nodes.diffusion.formats.single_file.header import SingleFile, family_in
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.vae_encoding import encode_pictures
from nodes.diffusion.sampling.sampler import decode
from nodes.diffusion.training.denoising_task import DenoisingTask
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.merge_block_weighted import MergeBlockWeighted
from nodes.methods.train_lora import TrainLoRA
from nodes.models.load_model import LoadModel
from nodes.output.save_safetensors import SaveSafetensors
from tests.flow_models import KLEIN, PROMPTS, TEMPLATE, make_klein_folder, write_apart
from tests.nodes.node_runner import NodeRunner, captions, images
from tests.nodes.test_flow_families import dataset, in_use, ours, trained
from tests.published import empty_parts

CPU = torch.device("cpu")
CONFIG = {"use_dynamic_shifting": True, "shift": 3.0}


@pytest.fixture
def model(runner: NodeRunner) -> DiffusionModel:
    make_klein_folder(runner.root / "m")
    return runner.run(LoadModel(model="m"))


def pipeline(runner: NodeRunner) -> Any:
    made: Any = Flux2KleinPipeline.from_pretrained(runner.root / "m")
    made.tokenizer.chat_template = TEMPLATE
    return made


@pytest.mark.parametrize(("family", "sizes"), [(KLEIN_4B, [3876, 4022, 84]), (KLEIN_9B, [9079, 7568, 84])])
def test_published_configurations_have_the_published_sizes(family: Flux2KleinFamily, sizes: list[int]) -> None:
    parts = empty_parts(family.name)
    assert [round(parts[part].num_parameters() / 1e6) for part in ("transformer", "text_encoder", "vae")] == sizes
    assert parts["transformer"].context_embedder.in_features == 3 * parts["text_encoder"].config.hidden_size


def published_layout(width: int, doubles: int, singles: int, text: int) -> dict[str, tuple[int, ...]]:
    """The tensors of Black Forest Labs' own files."""
    found: dict[str, tuple[int, ...]] = {
        "img_in.weight": (width, 128),
        "txt_in.weight": (width, text),
        "time_in.in_layer.weight": (width, 256),
        "time_in.out_layer.weight": (width, width),
        "double_stream_modulation_img.lin.weight": (6 * width, width),
        "double_stream_modulation_txt.lin.weight": (6 * width, width),
        "single_stream_modulation.lin.weight": (3 * width, width),
        "final_layer.adaLN_modulation.1.weight": (2 * width, width),
        "final_layer.linear.weight": (128, width),
    }
    for number in range(doubles):
        for stream in ("img", "txt"):
            block = f"double_blocks.{number}.{stream}"
            found |= {f"{block}_attn.norm.{norm}_norm.scale": (128,) for norm in ("query", "key")}
            found |= {f"{block}_attn.qkv.weight": (3 * width, width), f"{block}_attn.proj.weight": (width, width)}
            found |= {f"{block}_mlp.0.weight": (6 * width, width), f"{block}_mlp.2.weight": (width, 3 * width)}
    for number in range(singles):
        block = f"single_blocks.{number}"
        found |= {f"{block}.norm.{norm}_norm.scale": (128,) for norm in ("query", "key")}
        found |= {f"{block}.linear1.weight": (9 * width, width), f"{block}.linear2.weight": (width, 4 * width)}
    return found


@pytest.mark.parametrize(
    ("family", "size"), [(KLEIN_4B, (3072, 5, 20, 7680)), (KLEIN_9B, (4096, 8, 24, 12288))], ids=["4B", "9B"]
)
def test_names_and_shapes_are_those_of_the_published_file_both_ways(
    family: Flux2KleinFamily, size: tuple[int, int, int, int]
) -> None:
    with init_empty_weights():
        transformer: Any = Flux2Transformer2DModel.from_config(family.published()["transformer/config.json"])
    folder = {f"transformer.{name}": tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    names, prefix, theirs = family.tensor_names(()), "model.diffusion_model.", dict[str, list[int]]()
    for name, shape in folder.items():
        own = names.to_file(name) or pytest.fail(name)
        rows = theirs.setdefault(own.name.removeprefix(prefix), [0, *shape[1:]])
        rows[0] += shape[0]
        assert own.name.startswith(prefix)
        assert name in {back.name for back in names.to_folder(own.name)}
    layout = published_layout(*size)
    assert {name: tuple(shape) for name, shape in theirs.items()} == layout
    assert {back.name for name in layout for back in names.to_folder(name)} == set(folder)
    assert family_of_file({f"{prefix}{name}": shape for name, shape in layout.items()}) is family
    assert family_of_denoiser(folder) is family


def test_the_small_file_is_what_diffusers_converts_to_the_folder(runner: NodeRunner, model: DiffusionModel) -> None:
    """Its norm at the end has its halves in the other order."""
    write_apart(KLEIN, runner.root / "m", runner.root, prefix="")
    converted = convert_flux2_transformer_checkpoint_to_diffusers(load_file(runner.root / "m.safetensors"))
    folder = load_file(next((runner.root / "m" / "transformer").glob("*.safetensors")))
    assert converted.keys() == folder.keys()
    assert all(torch.equal(tensor, folder[name]) for name, tensor in converted.items())
    own = load_file(runner.root / "m.safetensors")["final_layer.adaLN_modulation.1.weight"]
    assert torch.equal(own[:32], folder["norm_out.linear.weight"][32:])


def headed(path: Path, width: int, doubles: int, singles: int, text: int, **more: tuple[int, ...]) -> SingleFile:
    return SingleFile(path, published_layout(width, doubles, singles, text) | more, {})


def test_a_file_s_shapes_tell_the_size_and_its_name_base_from_distilled(tmp_path: Path) -> None:
    for family, size in ((KLEIN_4B, (3072, 5, 20, 7680)), (KLEIN_9B, (4096, 8, 24, 12288))):
        for name, distilled in (("flux-2-klein-base.safetensors", False), ("flux-2-klein.safetensors", True)):
            file = headed(tmp_path / name, *size)
            assert family_in(file) is family
            assert family.configurations(file)["model_index.json"]["is_distilled"] is distilled
            assert ("distilled" in family.prediction_of(file)[1]) is distilled
    with pytest.raises(InputError, match="width 3072 and 24 blocks where 3072 and 25 are published"):
        KLEIN_4B.configurations(headed(tmp_path / "k.safetensors", 3072, 4, 20, 7680))
    dev = headed(tmp_path / "flux2-dev.safetensors", 6144, 8, 48, 15360, **{"guidance_in.in_layer.weight": (6144, 256)})
    with pytest.raises(InputError, match=r"flux2-dev.safetensors is FLUX.2 dev"):
        family_in(dev)


@pytest.mark.parametrize(("family", "own", "other"), [(KLEIN_4B, 2560, 4096), (KLEIN_9B, 4096, 2560)], ids=["4B", "9B"])
def test_the_language_model_of_the_other_size_is_refused_by_name(
    tmp_path: Path, family: Flux2KleinFamily, own: int, other: int
) -> None:
    name = "model.embed_tokens.weight"
    family.check_part("text_encoder", SingleFile(tmp_path / "a.safetensors", {name: (151936, own)}, {}))
    wrong = rf"b.safetensors holds a text encoder of width {other}, and {family.title} needs one of width {own}"
    with pytest.raises(InputError, match=wrong):
        family.check_part("text_encoder", SingleFile(tmp_path / "b.safetensors", {name: (151936, other)}, {}))
    inside = {f"text_encoders.qwen.transformer.{name}": (151936, other)}
    size = (3072, 5, 20, 7680) if family is KLEIN_4B else (4096, 8, 24, 12288)
    with pytest.raises(InputError, match=wrong):
        family.configurations(headed(tmp_path / "b.safetensors", *size, **inside))


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_parts_of_other_models_are_named(runner: NodeRunner, model: DiffusionModel) -> None:
    assert not model.info.distilled if model.info else pytest.fail("no facts")
    changed(runner.root / "m" / "vae" / "config.json", latent_channels=16)
    with pytest.raises(InputError, match=r"the VAE of m has 16 channels, and FLUX\.2 klein 4B needs 32"):
        runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "vae" / "config.json", latent_channels=32)
    changed(runner.root / "m" / "text_encoder" / "config.json", hidden_size=64)
    with pytest.raises(InputError, match="gives 192 numbers for a token, and its transformer takes 96"):
        runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "text_encoder" / "config.json", hidden_size=32)
    changed(runner.root / "m" / "transformer" / "config.json", guidance_embeds=True)
    with pytest.raises(InputError, match=r"m is FLUX\.2 dev"):
        runner.run(LoadModel(model="m"))


def test_all_rows_of_a_text_are_those_of_the_pipeline_and_are_kept(runner: NodeRunner, model: DiffusionModel) -> None:
    with in_use(runner, model) as loaded, torch.no_grad():
        found = encode_prompts(loaded, PROMPTS)["hidden"]
        theirs, _ = pipeline(runner).encode_prompt(list(PROMPTS), text_encoder_out_layers=(1, 2, 3))
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5)
    assert found.shape == (2, 512, 96)
    assert found[0, -1].any(), "what fills the text has states of its own"
    items = dataset(runner, model)["embeddings"].items
    kept = [load_file(item.files[0])["hidden"] for item in items]
    assert {(tuple(tensor.shape), tensor.dtype) for tensor in kept} == {((512, 96), torch.bfloat16)}


def test_latents_are_those_of_the_pipeline(runner: NodeRunner, model: DiffusionModel) -> None:
    pictures, pipe = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1, pipeline(runner)
    with in_use(runner, model) as loaded, torch.no_grad():
        space = latent_space(loaded)
        mean, std = encode_pictures(space, pictures, ["a", "b"])
        theirs = torch.cat([pipe._encode_vae_image(picture[None], torch.Generator()) for picture in pictures])
        torch.testing.assert_close(mean, theirs, rtol=0, atol=1e-5)
        assert mean.shape == std.shape == (2, 128, 2, 4)
        plain = pipe._patchify_latents(pipe.vae.encode(pictures).latent_dist.std)
        deviation = (pipe.vae.bn.running_var + 1e-4).sqrt().reshape(-1, 1, 1)
        torch.testing.assert_close(std, plain / deviation, rtol=1e-4, atol=1e-5)
        assert (deviation - 1).abs().max() > 0.1
        assert decode(loaded, mean)[0].size == (64, 32)
        with pytest.raises(InputError, match="40 x 32 pixels cannot be split into squares of 16 pixels"):
            encode_pictures(space, pictures[..., :40], ["a", "b"])


def test_training_takes_the_mean_of_the_posterior(runner: NodeRunner, model: DiffusionModel) -> None:
    data, injected = dataset(runner, model), runner.run(InjectLoRA(rank=2), model=model)
    with in_use(runner, injected) as loaded:
        task = DenoisingTask(loaded, TrainLoRA(batch_size=2, sample_latents=True), data["latents"], data["embeddings"])
        task.loss(0, 0)
        _, draws, _, latents = task._batch or pytest.fail("no batch")
    assert torch.equal(latents, torch.stack([load_file(draw.view.file)["mean"] for draw in draws]))


@pytest.mark.parametrize("tokens", [96, 1024, 4096, 4300, 4301, 9216])
def test_the_shift_is_that_of_the_pipeline_for_tokens_and_steps(tokens: int) -> None:
    for steps in (4, 10, 50, 200):
        assert shift_factor(CONFIG, tokens, steps) == pytest.approx(math.exp(compute_empirical_mu(tokens, steps)))
    assert shift_factor({"shift": 3.0}, tokens, 4) == 3.0


def test_steps_and_training_follow_their_own_shifts(runner: NodeRunner, model: DiffusionModel) -> None:
    with in_use(runner, model) as loaded:
        scheduler, trained_at = make_scheduler(loaded, "euler", (96, 64)), objective(loaded, DenoisingSettings())
    for steps in (4, 50):
        scheduler.set_timesteps(steps, device="cpu")
        factor = math.exp(compute_empirical_mu(24, steps))
        assert float(scheduler.timesteps[-1]) == pytest.approx(factor / steps / (1 + (factor - 1) / steps))
    level = trained_at.levels(5, (4, 6), torch.Generator().manual_seed(0))
    plain = torch.randn(5, generator=torch.Generator().manual_seed(0)).sigmoid()
    factor = math.exp(compute_empirical_mu(24, 50))
    torch.testing.assert_close(level, factor * plain / (1 + (factor - 1) * plain))


def test_a_step_s_loss_is_that_of_plain_torch(runner: NodeRunner, model: DiffusionModel) -> None:
    data, injected = dataset(runner, model), runner.run(InjectLoRA(rank=2), model=model)
    node = TrainLoRA(batch_size=2, precision="fp32", loss_weighting="cosmap", seed=3)
    with in_use(runner, injected) as loaded:
        task = DenoisingTask(loaded, node, data["latents"], data["embeddings"])
        loss = float(task.loss(0, 0).detach())
        _, draws, random, latents = task._batch or pytest.fail("no batch")
    transformer: Any = Flux2Transformer2DModel.from_pretrained(runner.root / "m" / "transformer")
    noise, sigma = random.noise, random.levels
    noisy = torch.stack([(1 - s) * x + s * e for s, x, e in zip(sigma, latents, noise, strict=True)])
    text = torch.stack([load_file(data["embeddings"].items[draw.item].files[0])["hidden"].float() for draw in draws])
    rows, columns = noisy.shape[2:]
    img_ids = torch.tensor([[0, row, column, 0] for row in range(rows) for column in range(columns)])
    txt_ids = torch.tensor([[0, 0, 0, letter] for letter in range(512)])
    tokens = noisy.reshape(2, 128, -1).permute(0, 2, 1)
    out = transformer(tokens, text, sigma, img_ids, txt_ids, return_dict=False)[0].permute(0, 2, 1).reshape(noisy.shape)
    weights = 2 / (torch.pi * (1 - 2 * sigma + 2 * sigma**2))
    expected = (((out - (noise - latents)) ** 2).mean(dim=(1, 2, 3)) * weights).mean()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)


def test_its_transformers_are_merged_by_its_own_blocks(runner: NodeRunner, model: DiffusionModel) -> None:
    other = runner.run(LoadModel(model=make_klein_folder(runner.root / "n", seed=1).name))
    a, b = (runner.run(AsCheckpoint(), model=each) for each in (model, other))
    merged = runner.run(MergeBlockWeighted(ratio=0.5, blocks="D00=1, S01=0"), a=a, b=b)
    found = load_file(runner.run(SaveSafetensors(precision="fp32"), model=merged)[0].file)
    first, second = (load_file(next((runner.root / name / "transformer").glob("*.safetensors"))) for name in "mn")
    name = "transformer_blocks.0.attn.to_q.weight"
    assert torch.equal(found[f"transformer.{name}"], second[name])
    name = "single_transformer_blocks.1.attn.to_out.weight"
    assert torch.equal(found[f"transformer.{name}"], first[name])
    for name in ("single_transformer_blocks.0.attn.to_out.weight", "norm_out.linear.weight"):
        torch.testing.assert_close(found[f"transformer.{name}"], (first[name] + second[name]) / 2)
    with pytest.raises(InputError, match="no block 'S20'") as refused:
        runner.run(MergeBlockWeighted(blocks="S20=0.5"), a=a, b=b)
    assert "D04, S00" in refused.value.remedy


def whole_file(runner: NodeRunner) -> dict[str, Tensor]:
    """All parts as one file has them; the transformer's metadata is lost."""
    write_apart(KLEIN, runner.root / "m", runner.root)
    parts = {"m": "", "ae": "vae.", "qwen": "text_encoders.qwen3_4b.transformer."}
    return {
        f"{prefix}{name}": t
        for file, prefix in parts.items()
        for name, t in load_file(runner.root / f"{file}.safetensors").items()
    }


def save_whole(runner: NodeRunner, tensors: dict[str, Tensor]) -> None:
    folder = runner.root / "m"
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("**/*.json")}
    save_file(tensors, runner.root / "whole.safetensors", {"latentloom.descriptions": json.dumps(texts)})


@pytest.mark.parametrize("spelled", ["nested", "at the top", "without counter"])
def test_one_file_of_all_parts_draws_what_the_folder_draws(runner: NodeRunner, model: DiffusionModel, spelled: str) -> None:
    tensors = whole_file(runner)
    assert {"vae.bn.running_mean", "vae.encoder.quant_conv.weight", "vae.decoder.post_quant_conv.bias"} <= tensors.keys()
    if spelled == "at the top":
        tensors = {
            name.replace("encoder.quant_conv", "quant_conv").replace("decoder.post_quant_conv", "post_quant_conv"): tensor
            for name, tensor in tensors.items()
        }
    if spelled == "without counter":
        del tensors["vae.bn.num_batches_tracked"]
    save_whole(runner, tensors)
    opened = runner.run(LoadModel(model="whole.safetensors"))
    with in_use(runner, model) as loaded:
        latents = torch.randn(1, 128, 2, 2, generator=torch.Generator().manual_seed(0))
        expected = decode(loaded, latents)[0].tobytes()
        text = encode_prompts(loaded, PROMPTS)["hidden"].detach()
    with model_in_use(opened, lambda digest: runner.root / "whole.safetensors", device=CPU) as loaded:
        assert decode(loaded, latents)[0].tobytes() == expected
        torch.testing.assert_close(encode_prompts(loaded, PROMPTS)["hidden"].detach(), text, rtol=0, atol=1e-5)


def test_a_file_without_the_statistics_of_its_latents_is_refused(runner: NodeRunner, model: DiffusionModel) -> None:
    tensors = whole_file(runner)
    del tensors["vae.bn.running_var"]
    save_whole(runner, tensors)
    opened = runner.run(LoadModel(model="whole.safetensors"))
    with (
        model_in_use(opened, lambda digest: runner.root / "whole.safetensors", device=CPU) as loaded,
        pytest.raises(InputError, match=r"vae lacks 1 weights of the published shapes, such as bn\.running_var"),
    ):
        latent_space(loaded)


def test_fp8_weights_are_read_with_their_scales(runner: NodeRunner, model: DiffusionModel) -> None:
    tensors = whole_file(runner)
    key = "model.diffusion_model.double_blocks.0.img_attn.qkv"
    exact = tensors[f"{key}.weight"]
    scale = exact.abs().max() / 448
    tensors |= {f"{key}.weight": (exact / scale).to(torch.float8_e4m3fn), f"{key}.scale_weight": scale.reshape(1)}
    save_whole(runner, tensors)
    opened = runner.run(LoadModel(model="whole.safetensors"))
    with model_in_use(opened, lambda digest: runner.root / "whole.safetensors", device=CPU) as loaded:
        found = loaded.denoiser.transformer_blocks[0].attn.to_k.weight
    torch.testing.assert_close(found, exact[32:64], rtol=0.07, atol=float(scale))


def test_layers_without_lora_are_zeros_in_what_fuses_them(runner: NodeRunner, model: DiffusionModel) -> None:
    learned = trained(runner, model, targets="custom", custom_targets="attn.to_k, norm_out.linear")
    (artifact,) = runner.run(SaveSafetensors(precision="fp32"), model=learned)
    (runner.root / "l.safetensors").write_bytes(artifact.file.read_bytes())
    written, tensors = load_file(artifact.file), adapter_tensors(learned.adapters[0])
    key = "diffusion_model.double_blocks.0.img_attn.qkv"
    assert set(written) == {f"{name}.lora_{m}.weight" for name in (key, "diffusion_model.norm_out.linear") for m in "AB"}
    up = written[f"{key}.lora_B.weight"]
    assert up.shape == (96, 2)
    assert not up[:32].any()
    assert not up[64:].any()
    own = tensors["unet.transformer_blocks.0.attn.to_k.lora_B.weight"]
    torch.testing.assert_close(up[32:64], own * learned.adapters[0].scale)
    loaded = runner.run(LoadLoRA(file="l.safetensors"), model=model)
    torch.testing.assert_close(ours(runner, loaded, 1.0), ours(runner, learned, 1.0), rtol=0, atol=1e-4)


def test_kinds_of_layers(runner: NodeRunner, model: DiffusionModel) -> None:
    more = runner.run(InjectLoRA(rank=2, targets="attention and feed-forward"), model=model).adapters[0].unet_targets
    feed_forward = {f"transformer_blocks.0.{part}.linear_{way}" for part in ("ff", "ff_context") for way in ("in", "out")}
    assert set(more) == set(KLEIN.attention) | feed_forward


def test_other_algorithms_keep_the_names_of_their_layers(runner: NodeRunner, model: DiffusionModel) -> None:
    learned = trained(runner, model, algorithm="loha")
    (artifact,) = runner.run(SaveSafetensors(precision="fp32"), model=learned)
    (runner.root / "l.safetensors").write_bytes(artifact.file.read_bytes())
    assert "diffusion_model.transformer_blocks.0.attn.to_q.hada_w1_a" in load_file(artifact.file)
    loaded = runner.run(LoadLoRA(file="l.safetensors"), model=model)
    torch.testing.assert_close(ours(runner, loaded, 1.0), ours(runner, learned, 1.0), rtol=0, atol=1e-4)


def test_the_norm_at_the_end_is_left_out_of_loras_in_the_names_of_files(runner: NodeRunner, model: DiffusionModel) -> None:
    """Its halves lie in the other order there, and programs differ in whether a LoRA's do."""
    keys = ("diffusion_model.final_layer.adaLN_modulation.1", "diffusion_model.single_blocks.0.linear2")
    rows = {keys[0]: (64, 32), keys[1]: (32, 128)}
    made = {f"{key}.lora_A.weight": torch.ones(2, rows[key][1]) for key in keys}
    made |= {f"{key}.lora_B.weight": torch.ones(rows[key][0], 2) for key in keys}
    save_file(made, runner.root / "l.safetensors")
    loaded = runner.run(LoadLoRA(file="l.safetensors"), model=model)
    assert loaded.adapters[0].unet_targets == ("single_transformer_blocks.0.attn.to_out",)
    assert any("final_layer.adaLN_modulation.1" in text for text in runner.messages.texts)


def test_the_size_of_many_captions_is_told(runner: NodeRunner, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(runner, model)
    texts = captions(runner, images(runner), caption_dropout=0.0, template="other {caption}")
    monkeypatch.setattr("nodes.data.encode_captions.MUCH", 3e5)
    runner.run(EncodeCaptions(), model=model, captions=texts)
    assert "4 captions of about 0.1 MB take 0.0 GB in the cache." in runner.messages.texts[0]


@pytest.mark.parametrize("family", [KLEIN_4B, KLEIN_9B], ids=["4B", "9B"])
def test_published_models_have_modelspec_ids(family: Flux2KleinFamily) -> None:
    config, size = family.published()["transformer/config.json"], family.name[-2:]
    assert family.architecture(config, "flow") == f"Flux.2-klein-{size}"
    assert family.architecture_by_input(config["num_attention_heads"] * 128, 128) == f"Flux.2-klein-{size}"
    assert family.kohya_metadata("flow") == {"ss_base_model_version": f"flux2_klein_{size}"}
    assert family.architecture({**config, "num_layers": 1}, "flow").startswith("custom-flux2_klein_")
