"""Z-Image from its folder to a trained LoRA: against diffusers' pipeline, plain torch, and the files of other programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from graph_runtime.context import RunContext
from graph_runtime.discovery import load_palette
from graph_runtime.errors import Interrupted, WorkflowError
from graph_runtime.session import prepare
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import Workspace
from nodes.adapters.inject_lora import InjectLoRA
from nodes.adapters.load_lora import LoadLoRA
from nodes.data.encode_captions import EncodeCaptions
from nodes.data.encode_latents import EncodeLatents
from nodes.diffusion.adapters.lora.apply import adapter_tensors
from nodes.diffusion.adapters.lora.read import read_lora
from nodes.diffusion.adapters.lora.targets import layer_shapes
from nodes.diffusion.adapters.model_in_use import model_in_use
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import encode_prompts, make_scheduler, predict
from nodes.diffusion.families.registry import check_method, facts
from nodes.diffusion.families.z_image.facts import Z_IMAGE
from nodes.diffusion.formats.single_file.configurations import METADATA_NAME
from nodes.diffusion.formats.single_file.header import SingleFile
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models import residency
from nodes.diffusion.models.residency import RESIDENT
from nodes.diffusion.sampling.sampler import denoise, sample
from nodes.diffusion.training.denoising_task import DenoisingTask
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.as_model import AsModel
from nodes.merging.bake_lora import BakeLoRA
from nodes.merging.merge_block_weighted import MergeBlockWeighted
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.rebasin_weights import RebasinWeights
from nodes.methods.fine_tune import FineTune
from nodes.methods.train_hypernet import TrainHypernet
from nodes.methods.train_lora import TrainLoRA
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_pipeline import SavePipeline
from nodes.output.save_safetensors import SaveSafetensors
from nodes.sampling.sample_images import SampleImages
from tests.flow_models import make_z_image_folder
from tests.nodes.node_runner import NodeRunner, captions, images
from tests.nodes.test_train_lora import StoppingReporter

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What Qwen3's chat template renders for one user turn with `enable_thinking`."""
PROMPTS = ["a cat", "two dogs in the rain, seen from far above"]
SIZE = (96, 64)


@pytest.fixture
def model(runner: NodeRunner) -> DiffusionModel:
    make_z_image_folder(runner.root / "m")
    return runner.run(LoadModel(model="m"))


def in_use(runner: NodeRunner, model: DiffusionModel) -> Any:
    return model_in_use(model, lambda digest: runner.root / "m", device=torch.device("cpu"))


def pipeline(folder: Path) -> Any:
    made: Any = ZImagePipeline.from_pretrained(folder)
    made.tokenizer.chat_template = TEMPLATE
    made.set_progress_bar_config(disable=True)
    return made


def official(folder: Path, guidance_scale: float, adapt: Callable[[Any], object] = lambda pipe: None) -> Tensor:
    """Latents of diffusers' pipeline, whose guidance counts from 0."""
    noise = [torch.randn(16, 8, 12, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    made = pipeline(folder)
    adapt(made)
    options = {"height": 64, "width": 96, "num_inference_steps": 4, "latents": torch.stack(noise), "output_type": "latent"}
    return made(list(PROMPTS), negative_prompt=["bad"] * 2, guidance_scale=guidance_scale - 1, **options).images


def ours(runner: NodeRunner, model: DiffusionModel, guidance_scale: float) -> Tensor:
    with in_use(runner, model) as loaded:
        scheduler = make_scheduler(loaded, "euler", SIZE)
        return denoise(
            loaded, PROMPTS, seeds=[1, 2], negative_prompt="bad", num_inference_steps=4, guidance_scale=guidance_scale,
            size=SIZE, scheduler=scheduler,
        )  # fmt: skip


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_sampling_is_that_of_diffusers_pipeline(runner: NodeRunner, model: DiffusionModel, guidance_scale: float) -> None:
    theirs = official(runner.root / "m", guidance_scale)
    torch.testing.assert_close(ours(runner, model, guidance_scale), theirs, rtol=0, atol=1e-4)
    assert theirs.abs().max() > 1


def test_pictures_that_cannot_be_split_into_patches_are_refused(runner: NodeRunner, model: DiffusionModel) -> None:
    with in_use(runner, model) as loaded, pytest.raises(InputError, match="cannot be split into patches of 2 x 2") as refused:
        sample(loaded, ["x"], seeds=[0], num_inference_steps=1, size=(72, 64), sampler="euler")
    assert "multiples of 16 pixels" in refused.value.remedy


def test_texts_of_several_lengths_in_a_batch_are_what_they_are_alone(runner: NodeRunner, model: DiffusionModel) -> None:
    noisy = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([0.3, 0.8])
    with in_use(runner, model) as loaded, torch.no_grad():
        text = encode_prompts(loaded, PROMPTS)
        assert text.lengths[0] < text.lengths[1]
        both = predict(loaded, noisy, level, text, [])
        for row in range(2):
            alone = predict(loaded, noisy[row : row + 1], level[row], encode_prompts(loaded, PROMPTS[row : row + 1]), [])
            torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-5)


def dataset(runner: NodeRunner, model: DiffusionModel) -> dict[str, Any]:
    for number in range(4):
        runner.picture(f"p/{number}.png", (32, 48), "thing " * (number + 1))
    loaded = images(runner)
    latents = runner.run(EncodeLatents(), model=model, images=loaded)
    return {
        "latents": latents,
        "embeddings": runner.run(EncodeCaptions(), model=model, captions=captions(runner, loaded, caption_dropout=0.0)),
    }


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


def test_a_lora_is_trained_whole_in_micro_batches_with_less_memory_and_in_half_precision(
    runner: NodeRunner, model: DiffusionModel
) -> None:
    data = dataset(runner, model)
    injected = runner.run(InjectLoRA(rank=2, targets="attention and feed-forward"), model=model)
    assert all(name.startswith("layers.") for name in injected.adapters[0].unet_targets), "refiners are left alone"
    assert len(injected.adapters[0].unet_targets) == 2 * 7
    fields = {"max_steps": 4, "learning_rate": 1e-2, "precision": "fp32"}
    whole = runner.run(TrainLoRA(**fields, batch_size=4), model=injected, **data)
    tensors = adapter_tensors(whole.adapters[0])
    assert all(tensor.any() for tensor in tensors.values())
    parts = runner.run(TrainLoRA(**fields, batch_size=2, gradient_accumulation_steps=2), model=injected, **data)
    for name, tensor in adapter_tensors(parts.adapters[0]).items():
        torch.testing.assert_close(tensor, tensors[name], rtol=1e-3, atol=1e-4)
    spared = runner.run(TrainLoRA(**fields, batch_size=4, gradient_checkpointing=True), model=injected, **data)
    for name, tensor in adapter_tensors(spared.adapters[0]).items():
        torch.testing.assert_close(tensor, tensors[name], rtol=1e-3, atol=1e-4)
    half = runner.run(TrainLoRA(**{**fields, "precision": "bf16"}, batch_size=4), model=injected, **data)
    assert all(tensor.isfinite().all() for tensor in adapter_tensors(half.adapters[0]).values())


def test_a_stopped_training_goes_on_to_the_same_bytes(runner: NodeRunner, model: DiffusionModel, tmp_path: Path) -> None:
    data, injected = dataset(runner, model), runner.run(InjectLoRA(rank=2), model=model)

    def train(folder: str, stop_after: int = 0) -> bytes:
        (tmp_path / folder).mkdir(exist_ok=True)
        reporter, located = StoppingReporter(stop_after), {model.digest: runner.root / "m"}
        context = RunContext(
            store=runner.cache, located=located, reporter=reporter, device="cpu", progress_folder=tmp_path / folder
        )
        node = TrainLoRA(
            max_steps=5, batch_size=2, learning_rate=1e-2, checkpoint_every=2, validation_fraction=0.25, preview_every=2,
            preview_prompt="a cat",
        )  # fmt: skip
        return node.run(injected, context=context, **data).adapters[0].weights.read_bytes()

    with pytest.raises(Interrupted):
        train("broken", stop_after=3)
    assert train("broken") == train("whole")


def trained(runner: NodeRunner, model: DiffusionModel, **fields: Any) -> DiffusionModel:
    """A model with a LoRA that changes much."""
    data, injected = dataset(runner, model), runner.run(InjectLoRA(rank=2, alpha=3.0, **fields), model=model)
    return runner.run(TrainLoRA(max_steps=3, batch_size=2, learning_rate=0.1), model=injected, **data)


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_its_lora_draws_the_same_here_and_in_diffusers(runner: NodeRunner, model: DiffusionModel, layout: Any) -> None:
    (artifact,) = runner.run(SaveSafetensors(layout=layout, precision="fp32"), model=(learned := trained(runner, model)))
    names = set(load_file(artifact.file))
    prefix = "diffusion_model" if layout == "kohya" else "transformer"
    layers = [f"layers.{n}.attention.{to}" for n in (0, 1) for to in ("to_q", "to_k", "to_v", "to_out.0")]
    assert names == {f"{prefix}.{layer}.{leaf}.weight" for layer in layers for leaf in ("lora_A", "lora_B")}
    with safe_open(artifact.file, "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.architecture"].endswith("/lora")
    (runner.root / "l.safetensors").write_bytes(artifact.file.read_bytes())
    expected = ours(runner, learned, 1.0)
    assert (expected - ours(runner, model, 1.0)).abs().max() > 0.05
    torch.testing.assert_close(
        ours(runner, runner.run(LoadLoRA(file="l.safetensors"), model=model), 1.0), expected, rtol=0, atol=1e-4
    )
    theirs = official(runner.root / "m", 1.0, lambda pipe: pipe.load_lora_weights(runner.root, weight_name="l.safetensors"))
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-4)


SPELLINGS: dict[str, tuple[str, str]] = {
    "ai-toolkit": ("diffusion_model.layers.{n}.attention.{to}", "peft"),
    "diffusers": ("transformer.layers.{n}.attention.{to}", "peft"),
    "PEFT, of ComfyUI's names": ("base_model.model.diffusion_model.layers.{n}.attention.{to}", "peft"),
    "PEFT": ("base_model.model.layers.{n}.attention.{to}", "peft"),
    "musubi": ("lora_unet_layers_{n}_attention_{to}", "kohya"),
    "OneTrainer": ("lora_transformer_layers_{n}_attention_{to}", "kohya"),
    "LyCORIS": ("lycoris_layers_{n}_attention_{to}", "kohya"),
}


def shapes(runner: NodeRunner, model: DiffusionModel) -> Any:
    return layer_shapes(model, runner.root / "m")


@pytest.mark.parametrize("program", SPELLINGS)
def test_every_program_s_spelling_is_read(runner: NodeRunner, model: DiffusionModel, program: str) -> None:
    pattern, leaves = SPELLINGS[program]
    down, up = ("lora_A.weight", "lora_B.weight") if leaves == "peft" else ("lora_down.weight", "lora_up.weight")
    written: dict[str, Tensor] = {}
    for number, layer in enumerate(("to_q", "to_out.0")):
        key = pattern.format(n=1, to=layer.replace(".", "_") if leaves == "kohya" else layer)
        written |= {f"{key}.{down}": torch.full((2, 32), number + 1.0), f"{key}.{up}": torch.ones(32, 2)}
        written |= {f"{key}.alpha": torch.tensor(1.0)} if leaves == "kohya" else {}
    save_file(written, runner.root / "l.safetensors")
    found = read_lora(runner.root / "l.safetensors", shapes(runner, model), "z_image")
    assert set(found.layers) == {"unet.layers.1.attention.to_q", "unet.layers.1.attention.to_out.0"}
    assert float(found.layers["unet.layers.1.attention.to_out.0"]["lora_A.weight"][0, 0]) == 2
    assert set(found.scales.values()) == ({0.5} if leaves == "kohya" else {1.0})
    assert not found.unknown


@pytest.mark.parametrize("pattern", ["lora_unet_layers_0_attention_{}", "diffusion_model.layers.0.attention.{}"])
def test_fused_projections_are_split_exactly(runner: NodeRunner, model: DiffusionModel, pattern: str) -> None:
    a, b = torch.randn(2, 32), torch.randn(96, 2)
    key, out = pattern.format("qkv"), pattern.format("out")
    fused = {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b, f"{key}.alpha": torch.tensor(4.0)}
    save_file(fused | {f"{out}.lora_A.weight": a.clone(), f"{out}.lora_B.weight": b[:32].clone()}, runner.root / "l.safetensors")
    found = read_lora(runner.root / "l.safetensors", shapes(runner, model), "z_image")
    for number, third in enumerate(("to_q", "to_k", "to_v")):
        leaves = found.layers[f"unet.layers.0.attention.{third}"]
        assert torch.equal(leaves["lora_B.weight"] @ leaves["lora_A.weight"], (b @ a)[32 * number : 32 * number + 32])
        assert found.scales[f"unet.layers.0.attention.{third}"] == 2
    assert set(found.layers["unet.layers.0.attention.to_out.0"]) == {"lora_A.weight", "lora_B.weight"}
    loaded = runner.run(LoadLoRA(file="l.safetensors"), model=model)
    assert len(load_file(loaded.adapters[0].weights)) >= 8
    assert (ours(runner, loaded, 1.0) - ours(runner, model, 1.0)).abs().max() > 0.1


def test_a_fused_kronecker_product_is_refused(runner: NodeRunner, model: DiffusionModel) -> None:
    key = "lycoris_layers_0_attention_qkv"
    save_file({f"{key}.lokr_w1": torch.ones(2, 2), f"{key}.lokr_w2": torch.ones(48, 16)}, runner.root / "l.safetensors")
    with pytest.raises(InputError, match="cannot be split exactly"):
        runner.run(LoadLoRA(file="l.safetensors"), model=model)


def test_methods_that_make_no_sense_are_refused(runner: NodeRunner, model: DiffusionModel) -> None:
    with pytest.raises(InputError, match="no cross-attention"):
        runner.run(TrainHypernet(), model=model, latents=None, embeddings=None)
    with pytest.raises(InputError, match="language model") as refused:
        runner.run(InjectLoRA(text_encoder=True), model=model)
    assert refused.value.field == "text_encoder"
    injected, data = runner.run(InjectLoRA(rank=2), model=model), dataset(runner, model)
    with pytest.raises(InputError, match="min-SNR"):
        runner.run(TrainLoRA(snr_gamma=5), model=injected, **data)
    check_method("z_image", "DreamBooth")


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_parts_of_other_models_are_named(runner: NodeRunner, model: DiffusionModel) -> None:
    changed(runner.root / "m" / "vae" / "config.json", latent_channels=4)
    with pytest.raises(InputError, match="the VAE of m has 4 channels, and Z-Image needs 16"):
        runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "vae" / "config.json", latent_channels=16)
    changed(runner.root / "m" / "text_encoder" / "config.json", hidden_size=64)
    with pytest.raises(InputError, match="gives 64 numbers for a token, and its transformer takes 32"):
        runner.run(LoadModel(model="m"))
    changed(runner.root / "m" / "text_encoder" / "config.json", hidden_size=32)
    with pytest.raises(InputError, match="too few text-encoder layers to drop"):
        runner.run(LoadModel(model="m", clip_skip=1))


def test_a_distilled_model_says_what_training_does_to_it(runner: NodeRunner) -> None:
    make_z_image_folder(runner.root / "m", shift=3.0)
    runner.run(LoadModel(model="m"))
    assert any("it is distilled" in text and "BakeLoRA" in text for text in runner.messages.texts)


def write_apart(runner: NodeRunner, *, prefix: str = "model.diffusion_model.", **changes: dict[str, Tensor]) -> None:
    """Write the folder's parts as ComfyUI has them: the transformer with fused attention, the text encoder, the VAE of LDM."""
    folder = runner.root / "m"
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("*/*.json") if "index" not in path.name}
    names = facts("z_image").tensor_names(())
    parts: dict[str, dict[str, Tensor]] = {}
    for part, (file, begins) in APART.items():
        (weights,) = (folder / part).glob("*.safetensors")
        fused: dict[str, list[Tensor]] = {}
        for name, tensor in sorted(load_file(weights).items(), key=lambda item: "to_k" in item[0] or 2 * ("to_v" in item[0])):
            own = names.to_file(f"{part}.{name}") or pytest.fail(name)
            fused.setdefault(own.name, []).append(tensor[:, :, None, None] if own.conversion == "conv" else tensor)
        parts[file] = {begins + name.removeprefix(WHOLE[part]): torch.cat(found) for name, found in fused.items()}
    parts["m"] = {prefix + name.removeprefix("model.diffusion_model."): tensor for name, tensor in parts["m"].items()}
    for file, tensors in parts.items():
        metadata = {METADATA_NAME: json.dumps(texts)} if file == "m" else {}
        save_file(tensors | changes.get(file, {}), runner.root / f"{file}.safetensors", metadata)


APART = {
    "transformer": ("m", "model.diffusion_model."),
    "text_encoder": ("qwen", "model."),
    "vae": ("ae", ""),
}
WHOLE = {
    "transformer": "model.diffusion_model.", "text_encoder": "text_encoders.qwen3_4b.transformer.model.", "vae": "vae.",
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
def test_files_apart_draw_what_the_folder_draws(
    runner: NodeRunner, model: DiffusionModel, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_apart(runner, prefix=prefix)
    monkeypatch.setitem(Z_IMAGE.part_marks, "text_encoder", ("embed_tokens.weight", 1, 32))  # type: ignore[index]
    names = load_file(runner.root / "m.safetensors")
    assert names[f"{prefix}layers.0.attention.qkv.weight"].shape == (96, 32)
    assert f"{prefix}x_embedder.weight" in names
    assert "decoder.mid.attn_1.q.weight" in load_file(runner.root / "ae.safetensors")
    opened = runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="ae.safetensors"))
    assert opened.vae_digest != model.vae_digest
    assert [part for part, _ in opened.files] == ["text_encoder", "vae"]
    picture = runner.run(SampleImages(prompts="a cat", num_inference_steps=2, sampler="euler"), models=[opened])
    expected = runner.run(SampleImages(prompts="a cat", num_inference_steps=2, sampler="euler"), models=[model])
    drawn, wanted = (Image.open(each.images[0].file).tobytes() for each in (picture, expected))
    assert drawn == wanted
    saved = runner.run(SavePipeline(precision="fp32"), model=opened)[0]
    folder = runner.root / "saved"
    for name, file in saved.folder:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    theirs: Any = ZImageTransformer2DModel.from_pretrained(folder / "transformer")
    whole: Any = ZImageTransformer2DModel.from_pretrained(runner.root / "m" / "transformer")
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in whole.state_dict().items())
    assert ZImagePipeline.from_pretrained(folder)


def test_a_file_that_is_missing_or_another_model_s_is_named(
    runner: NodeRunner, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_apart(runner)
    with pytest.raises(InputError, match=r"m\.safetensors holds no text encoder") as refused:
        runner.run(LoadModel(model="m.safetensors"))
    assert refused.value.field == "text_encoder"
    with pytest.raises(
        InputError, match=r"qwen\.safetensors holds a text encoder of width 32, and Z-Image needs one of width 2560"
    ):
        runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="ae.safetensors"))
    monkeypatch.setitem(Z_IMAGE.part_marks, "text_encoder", ("embed_tokens.weight", 1, 32))  # type: ignore[index]
    with pytest.raises(InputError, match=r"qwen\.safetensors holds no VAE"):
        runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="qwen.safetensors"))
    write_apart(runner, qwen={"model.norm.weight": torch.ones(32, dtype=torch.int8), "model.norm.weight_scale": torch.ones(1)})
    with pytest.raises(InputError, match="I8"):
        runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="ae.safetensors"))
    (runner.root / "qwen.safetensors").write_bytes((runner.root / "ae.safetensors").read_bytes()[:-8])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="ae.safetensors"))
    with pytest.raises(InputError, match="a folder holds all of its parts"):
        runner.run(LoadModel(model="m", vae="ae.safetensors"))
    (runner.root / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="GGUF"):
        runner.run(LoadModel(model="m.gguf"))


def test_published_configurations_have_the_published_sizes() -> None:
    configs = Z_IMAGE.published()
    with init_empty_weights():
        transformer: Any = ZImageTransformer2DModel.from_config(configs["transformer/config.json"])
        text_encoder = Qwen3Model(Qwen3Config(**configs["text_encoder/config.json"]))
        vae: Any = AutoencoderKL.from_config(configs["vae/config.json"])
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in (transformer, text_encoder, vae)]
    assert [round(size / 1e6) for size in sizes] == [6155, 4022, 84]
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


def test_a_training_adapter_is_baked_below_what_is_trained_and_does_not_go_into_the_file(
    runner: NodeRunner, model: DiffusionModel
) -> None:
    (artifact,) = runner.run(SaveSafetensors(precision="fp32"), model=trained(runner, model))
    (runner.root / "adapter.safetensors").write_bytes(artifact.file.read_bytes())
    adapted = runner.run(LoadLoRA(file="adapter.safetensors"), model=model)
    base = runner.run(AsModel(), model=model, checkpoint=runner.run(BakeLoRA(), model=adapted))
    torch.testing.assert_close(ours(runner, base, 1.0), ours(runner, adapted, 1.0), rtol=0, atol=1e-4)
    injected, data = runner.run(InjectLoRA(rank=1), model=base), dataset(runner, model)
    learned = runner.run(TrainLoRA(max_steps=2, batch_size=2, learning_rate=0.05), model=injected, **data)
    (artifact,) = runner.run(SaveSafetensors(), model=learned)
    assert {tensor.shape[0] for name, tensor in load_file(artifact.file).items() if "lora_A" in name} == {1}


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


def test_a_whole_model_is_fine_tuned_and_saved_as_a_folder(runner: NodeRunner, model: DiffusionModel) -> None:
    tuned = runner.run(FineTune(max_steps=2, batch_size=2, learning_rate=1e-2), model=model, **dataset(runner, model))
    (saved,) = runner.run(SavePipeline(precision="fp32"), model=tuned)
    for name, file in saved.folder:
        (runner.root / "saved" / name).parent.mkdir(parents=True, exist_ok=True)
        (runner.root / "saved" / name).write_bytes(file.read_bytes())
    expected = ours(runner, tuned, 1.0)
    assert (expected - ours(runner, model, 1.0)).abs().max() > 0.01
    torch.testing.assert_close(official(runner.root / "saved", 1.0), expected, rtol=0, atol=1e-4)
    other = runner.run(AsCheckpoint(), model=runner.run(LoadModel(model=make_z_image_folder(runner.root / "n", seed=1).name)))
    merged = runner.run(MergeWeighted(ratio=0.0), models=[runner.run(AsCheckpoint(), model=tuned), other])
    found = load_file(runner.run(SaveSafetensors(precision="fp32"), model=merged)[0].file)
    own = load_file(next((runner.root / "saved" / "transformer").glob("*.safetensors")))
    assert all(torch.equal(found[f"transformer.{name}"], tensor) for name, tensor in own.items())
    with pytest.raises(InputError, match="not written as one file") as refused:
        runner.run(SaveCheckpoint(), model=tuned)
    assert "SavePipeline" in refused.value.remedy


def test_a_folder_with_half_of_its_shards_is_refused(runner: NodeRunner, model: DiffusionModel) -> None:
    folder = runner.root / "m" / "transformer"
    whole: Any = ZImageTransformer2DModel.from_pretrained(folder)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    whole.save_pretrained(folder, max_shard_size="100KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    sharded = runner.run(LoadModel(model="m"))
    torch.testing.assert_close(ours(runner, sharded, 1.0), official(runner.root / "m", 1.0), rtol=0, atol=1e-4)
    shards[1].unlink()
    with pytest.raises(InputError, match=f"transformer lacks 1 of its files of weights, such as {shards[1].name}"):
        runner.run(LoadModel(model="m"))


def test_the_language_model_goes_before_the_transformer_comes_when_memory_is_short(
    runner: NodeRunner, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = sum(file.stat().st_size for file in (runner.root / "m").glob("t*/*.safetensors"))
    monkeypatch.setattr(residency, "memory_of", lambda device: memory)
    RESIDENT.clear()
    expected = official(runner.root / "m", 5.0)
    torch.testing.assert_close(ours(runner, model, 5.0), expected, rtol=0, atol=1e-4)
    assert "text_encoder" not in {name for _, name in RESIDENT.parts()}
    torch.testing.assert_close(ours(runner, model, 5.0), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("type_", "fields", "found"),
    [
        ("TrainHypernet", {}, "t.model: Z-Image has no cross-attention"),
        ("TrainTI", {}, "t.model: a new word is hardly learned"),
        ("SaveCheckpoint", {}, "t.model: Z-Image is not written as one file"),
        ("InjectLoRA", {"text_encoder": True}, "t.text_encoder: Z-Image reads text with a language model"),
        ("TrainLoRA", {"snr_gamma": 5}, "t.snr_gamma: min-SNR weighting is for models that predict noise or velocity"),
        ("TrainLoRA", {"shift": 2, "loss_weighting": "cosmap"}, ""),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    runner: NodeRunner, type_: str, fields: dict[str, Any], found: str
) -> None:
    """The family is known at nodes below LoadModel through the nodes that return models, here InjectLoRA."""
    make_z_image_folder(runner.root / "m")
    nodes = {
        "load": {"type": "LoadModel", "fields": {"model": "m"}},
        "inject": {"type": "InjectLoRA"},
        "t": {"type": type_, "fields": fields},
        **{name: {"type": name} for name in ("LoadImages", "CaptionDataset", "EncodeLatents", "EncodeCaptions")},
    }
    nodes["LoadImages"] = {"type": "LoadImages", "fields": {"folder": "p"}}
    runner.picture("p/0.png", text="a thing")
    trained = type_ == "TrainLoRA"
    ends = [("load", "inject.model"), ("inject" if trained else "load", "t.model"), ("LoadImages", "CaptionDataset.images")]
    ends += [("load", "EncodeLatents.model"), ("LoadImages", "EncodeLatents.images"), ("load", "EncodeCaptions.model")]
    ends += [("CaptionDataset", "EncodeCaptions.captions")]
    if type_.startswith("Train"):
        text = "captions" if type_ == "TrainTI" else "embeddings"
        source = "CaptionDataset" if type_ == "TrainTI" else "EncodeCaptions"
        ends += [("EncodeLatents", "t.latents"), (source, f"t.{text}")]
    wires = [{"from": f"{source}.output", "to": target} for source, target in ends]
    document = workflow_from_json({"format": "latentloom/1", "nodes": nodes, "wires": wires})
    palette, workspace = load_palette(), Workspace(runner.root)
    if not found:
        prepare(document, palette, workspace, runner.cache, ["t"])
        return
    with pytest.raises(WorkflowError) as refused:
        prepare(document, palette, workspace, runner.cache, ["t"])
    (problem,) = refused.value.problems
    assert f"{problem.node}.{problem.field}: {problem.message}".startswith(found)
    assert problem.remedy.endswith(".")


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_a_lora_is_baked_into_the_transformers_file_alone(runner: NodeRunner, model: DiffusionModel, prefix: str) -> None:
    learned = trained(runner, model)
    write_apart(runner, prefix=prefix)
    baked = runner.run(BakeLoRA(), model=learned, checkpoint=runner.run(LoadCheckpoint(path="m.safetensors")))
    found = load_file(runner.run(SaveSafetensors(precision="fp32"), model=baked)[0].file)
    before, key = load_file(runner.root / "m.safetensors"), f"{prefix}layers.0.attention.qkv.weight"
    tensors, layer = adapter_tensors(learned.adapters[0]), "unet.layers.0.attention.to_k"
    product = tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"] * learned.adapters[0].scale
    torch.testing.assert_close(found[key][32:64] - before[key][32:64], product, rtol=1e-4, atol=1e-5)


def test_embeddings_of_two_families_with_one_language_model_are_told_apart(model: DiffusionModel) -> None:
    assert model.text_digest.startswith("z_image ")
