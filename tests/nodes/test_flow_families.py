"""Families of rectified flow from a folder to a trained LoRA: against diffusers' pipelines, and the files of other programs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

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
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models import residency
from nodes.diffusion.models.residency import RESIDENT
from nodes.diffusion.sampling.sampler import denoise, sample
from nodes.evaluation.measure_loss import MeasureLoss
from nodes.merging.as_checkpoint import AsCheckpoint
from nodes.merging.as_model import AsModel
from nodes.merging.bake_lora import BakeLoRA
from nodes.merging.merge_weighted import MergeWeighted
from nodes.merging.rebasin_weights import RebasinWeights
from nodes.methods.fine_tune import FineTune
from nodes.methods.train_hypernet import TrainHypernet
from nodes.methods.train_lora import TrainLoRA
from nodes.methods.train_vae import TrainVAE
from nodes.models.load_checkpoint import LoadCheckpoint
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from nodes.output.save_pipeline import SavePipeline
from nodes.output.save_safetensors import SaveSafetensors
from nodes.sampling.sample_images import SampleImages
from tests.flow_models import KLEIN, PROMPTS, SIZE, Z_IMAGE, Kind, write_apart
from tests.nodes.node_runner import NodeRunner, captions, images
from tests.nodes.test_train_lora import StoppingReporter


@pytest.fixture(params=[Z_IMAGE, KLEIN], ids=lambda kind: kind.family)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def model(runner: NodeRunner, kind: Kind) -> DiffusionModel:
    kind.make(runner.root / "m")
    return runner.run(LoadModel(model="m"))


def in_use(runner: NodeRunner, model: DiffusionModel, **options: Any) -> Any:
    return model_in_use(model, lambda digest: runner.root / "m", device=torch.device("cpu"), **options)


def ours(runner: NodeRunner, model: DiffusionModel, guidance_scale: float) -> Tensor:
    with in_use(runner, model) as loaded:
        return denoise(
            loaded, PROMPTS, seeds=[1, 2], negative_prompt="", num_inference_steps=4, guidance_scale=guidance_scale, size=SIZE,
            scheduler=make_scheduler(loaded, "euler", SIZE),
        )  # fmt: skip


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_sampling_is_that_of_diffusers_pipeline(
    runner: NodeRunner, model: DiffusionModel, kind: Kind, guidance_scale: float
) -> None:
    theirs = kind.official(runner.root / "m", guidance_scale)
    torch.testing.assert_close(ours(runner, model, guidance_scale), theirs, rtol=0, atol=1e-4)
    assert theirs.abs().max() > 1


def test_pictures_that_cannot_be_split_into_patches_are_refused(runner: NodeRunner, model: DiffusionModel) -> None:
    with in_use(runner, model) as loaded, pytest.raises(InputError, match=r"patches of 2 x 2|multiple of 16") as refused:
        sample(loaded, ["x"], seeds=[0], num_inference_steps=1, size=(72, 64), sampler="euler")
    assert refused.value.field == "width"


def test_texts_of_several_lengths_in_a_batch_are_what_they_are_alone(
    runner: NodeRunner, model: DiffusionModel, kind: Kind
) -> None:
    noisy = torch.randn(2, kind.channels, 4, 6, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([0.3, 0.8])
    with in_use(runner, model) as loaded, torch.no_grad():
        both = predict(loaded, noisy, level, encode_prompts(loaded, PROMPTS), [])
        for row in range(2):
            alone = predict(loaded, noisy[row : row + 1], level[row], encode_prompts(loaded, PROMPTS[row : row + 1]), [])
            torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-5)


def dataset(runner: NodeRunner, model: DiffusionModel) -> dict[str, Any]:
    for number in range(4):
        runner.picture(f"p/{number}.png", (32, 48), "thing " * (number + 1))
    loaded = images(runner)
    latents = runner.run(EncodeLatents(), model=model, images=loaded)
    embeddings = runner.run(EncodeCaptions(), model=model, captions=captions(runner, loaded, caption_dropout=0.0))
    return {"latents": latents, "embeddings": embeddings}


def test_a_lora_is_trained_whole_in_micro_batches_with_less_memory_and_in_half_precision(
    runner: NodeRunner, model: DiffusionModel, kind: Kind
) -> None:
    data, injected = dataset(runner, model), runner.run(InjectLoRA(rank=2), model=model)
    assert set(injected.adapters[0].unet_targets) == set(kind.attention)
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
def test_its_lora_draws_the_same_here_and_in_diffusers(
    runner: NodeRunner, model: DiffusionModel, kind: Kind, layout: Any
) -> None:
    (artifact,) = runner.run(SaveSafetensors(layout=layout, precision="fp32"), model=(learned := trained(runner, model)))
    prefix, layers = ("diffusion_model", kind.attention.values()) if layout == "kohya" else ("transformer", kind.attention)
    names = {f"{prefix}.{layer}.{leaf}.weight" for layer in layers for leaf in ("lora_A", "lora_B")}
    assert set(load_file(artifact.file)) == names
    with safe_open(artifact.file, "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.architecture"].endswith("/lora")
    (runner.root / "l.safetensors").write_bytes(artifact.file.read_bytes())
    expected = ours(runner, learned, 1.0)
    assert (expected - ours(runner, model, 1.0)).abs().max() > 0.05
    loaded = runner.run(LoadLoRA(file="l.safetensors"), model=model)
    assert {len(tensor) for name, tensor in adapter_tensors(loaded.adapters[0]).items() if "lora_A" in name} == {2}
    torch.testing.assert_close(ours(runner, loaded, 1.0), expected, rtol=0, atol=1e-4)
    adapt = lambda pipe: pipe.load_lora_weights(runner.root, weight_name="l.safetensors")  # noqa: E731
    torch.testing.assert_close(kind.official(runner.root / "m", 1.0, adapt), expected, rtol=0, atol=1e-4)


Spelling = tuple[str, str, str]
"""Two layers in a program's names, and the names of its matrices."""
SPELLINGS: dict[str, dict[str, Spelling]] = {
    Z_IMAGE.family: {
        program: (f"{prefix}layers.1.attention.to_q", f"{prefix}layers.1.attention.to_out.0", "peft")
        for program, prefix in {
            "ai-toolkit": "diffusion_model.",
            "diffusers": "transformer.",
            "PEFT, of ComfyUI's names": "base_model.model.diffusion_model.",
            "PEFT": "base_model.model.",
        }.items()
    }
    | {
        program: (f"{prefix}_layers_1_attention_to_q", f"{prefix}_layers_1_attention_to_out_0", "kohya")
        for program, prefix in {"musubi": "lora_unet", "OneTrainer": "lora_transformer", "LyCORIS": "lycoris"}.items()
    },
    KLEIN.family: {
        program: (f"{prefix}double_blocks.0.img_attn.proj", f"{prefix}single_blocks.1.linear1", "peft")
        for program, prefix in {"ai-toolkit": "diffusion_model.", "PEFT": "base_model.model."}.items()
    }
    | {
        program: (
            f"{prefix}transformer_blocks.0.attn.to_out.0", f"{prefix}single_transformer_blocks.1.attn.to_qkv_mlp_proj", "peft",
        )
        for program, prefix in {"diffusers": "transformer.", "ComfyUI, of diffusers' names": "diffusion_model."}.items()
    }
    | {
        program: (
            f"{prefix}_transformer_blocks_0_attn_to_out_0", f"{prefix}_single_transformer_blocks_1_attn_to_qkv_mlp_proj", "kohya",
        )
        for program, prefix in {"OneTrainer": "lora_transformer", "LyCORIS": "lycoris"}.items()
    }
    | {"musubi": ("lora_unet_double_blocks_0_img_attn_proj", "lora_unet_single_blocks_1_linear1", "kohya")},
}  # fmt: skip
SPELLED = {
    Z_IMAGE.family: ("layers.1.attention.to_q", "layers.1.attention.to_out.0"),
    KLEIN.family: ("transformer_blocks.0.attn.to_out.0", "single_transformer_blocks.1.attn.to_qkv_mlp_proj"),
}


def shapes(runner: NodeRunner, model: DiffusionModel) -> Any:
    return layer_shapes(model, runner.root / "m")


def test_every_program_s_spelling_is_read(runner: NodeRunner, model: DiffusionModel, kind: Kind) -> None:
    known, layers = shapes(runner, model), [f"unet.{layer}" for layer in SPELLED[kind.family]]
    for *spelled, leaves in SPELLINGS[kind.family].values():
        down, up = ("lora_A.weight", "lora_B.weight") if leaves == "peft" else ("lora_down.weight", "lora_up.weight")
        written: dict[str, Tensor] = {}
        for number, (key, layer) in enumerate(zip(spelled, layers, strict=True)):
            rows, columns = known[layer]
            written |= {f"{key}.{down}": torch.full((2, columns), number + 1.0), f"{key}.{up}": torch.ones(rows, 2)}
            written |= {f"{key}.alpha": torch.tensor(1.0)} if leaves == "kohya" else {}
        save_file(written, runner.root / "l.safetensors")
        found = read_lora(runner.root / "l.safetensors", known, kind.family)
        assert set(found.layers) == set(layers)
        assert float(found.layers[layers[1]]["lora_A.weight"][0, 0]) == 2
        assert set(found.scales.values()) == ({0.5} if leaves == "kohya" else {1.0})
        assert not found.unknown


@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model."])
def test_fused_projections_are_split_exactly(runner: NodeRunner, model: DiffusionModel, kind: Kind, prefix: str) -> None:
    a, b = torch.randn(2, 32), torch.randn(96, 2)
    key = prefix + (kind.single_file.replace(".", "_") if prefix.endswith("_") else kind.single_file)
    fused = {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b, f"{key}.alpha": torch.tensor(4.0)}
    save_file(fused, runner.root / "l.safetensors")
    found = read_lora(runner.root / "l.safetensors", shapes(runner, model), kind.family)
    for number, layer in enumerate(kind.rows):
        leaves = found.layers[f"unet.{layer}"]
        assert torch.equal(leaves["lora_B.weight"] @ leaves["lora_A.weight"], (b @ a)[32 * number : 32 * number + 32])
        assert found.scales[f"unet.{layer}"] == 2
    loaded = runner.run(LoadLoRA(file="l.safetensors"), model=model)
    assert (ours(runner, loaded, 1.0) - ours(runner, model, 1.0)).abs().max() > 0.05


def test_a_fused_kronecker_product_is_refused(runner: NodeRunner, model: DiffusionModel, kind: Kind) -> None:
    key = f"lycoris_{kind.single_file.replace('.', '_')}"
    save_file({f"{key}.lokr_w1": torch.ones(2, 2), f"{key}.lokr_w2": torch.ones(48, 16)}, runner.root / "l.safetensors")
    with pytest.raises(InputError, match="cannot be split exactly"):
        runner.run(LoadLoRA(file="l.safetensors"), model=model)


def test_methods_that_make_no_sense_are_refused(runner: NodeRunner, model: DiffusionModel, kind: Kind) -> None:
    with pytest.raises(InputError, match="no cross-attention"):
        runner.run(TrainHypernet(), model=model, latents=None, embeddings=None)
    with pytest.raises(InputError, match="language model") as refused:
        runner.run(InjectLoRA(text_encoder=True), model=model)
    assert refused.value.field == "text_encoder"
    injected, data = runner.run(InjectLoRA(rank=2), model=model), dataset(runner, model)
    with pytest.raises(InputError, match="min-SNR"):
        runner.run(TrainLoRA(snr_gamma=5), model=injected, **data)
    check_method(kind.family, "DreamBooth")
    checkpoint = runner.run(AsCheckpoint(), model=model)
    with pytest.raises(InputError, match="nobody has described which rows"):
        runner.run(RebasinWeights(), model=checkpoint, reference=checkpoint)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
def test_files_apart_draw_what_the_folder_draws(
    runner: NodeRunner, model: DiffusionModel, kind: Kind, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_apart(kind, runner.root / "m", runner.root, prefix=prefix)
    monkeypatch.setitem(facts(kind.family).part_marks, "text_encoder", ("embed_tokens.weight", 1, 32))  # type: ignore[attr-defined]
    assert load_file(runner.root / "m.safetensors")[f"{prefix}{kind.single_file}.weight"].shape == (96, 32)
    assert "decoder.mid.attn_1.q.weight" in load_file(runner.root / "ae.safetensors")
    opened = runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="ae.safetensors"))
    assert opened.vae_digest != model.vae_digest
    assert [part for part, _ in opened.files] == ["text_encoder", "vae"]
    fields = {"prompts": "a cat", "num_inference_steps": 2, "sampler": "euler"}
    pictures = [runner.run(SampleImages(**fields), models=[each]).images[0].file for each in (opened, model)]
    drawn, wanted = (Image.open(picture).tobytes() for picture in pictures)
    assert drawn == wanted
    saved = runner.run(SavePipeline(precision="fp32"), model=opened)[0]
    folder = unpacked(saved, runner.root / "saved")
    theirs, whole = (kind.transformer.from_pretrained(each / "transformer").state_dict() for each in (folder, runner.root / "m"))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in whole.items())
    assert kind.pipeline.from_pretrained(folder)


def unpacked(saved: Any, folder: Path) -> Path:
    """Write the files of a saved folder to the disk."""
    for name, file in saved.folder:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    return folder


def test_a_file_that_is_missing_or_another_model_s_is_named(
    runner: NodeRunner, model: DiffusionModel, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, title = runner.root / "m", facts(kind.family).title
    write_apart(kind, folder, runner.root)
    with pytest.raises(InputError, match=r"m\.safetensors holds no text encoder") as refused:
        runner.run(LoadModel(model="m.safetensors"))
    assert refused.value.field == "text_encoder"
    with pytest.raises(
        InputError, match=rf"qwen\.safetensors holds a text encoder of width 32, and {title} needs one of width 2560"
    ):
        runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="ae.safetensors"))
    monkeypatch.setitem(facts(kind.family).part_marks, "text_encoder", ("embed_tokens.weight", 1, 32))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"qwen\.safetensors holds no VAE"):
        runner.run(LoadModel(model="m.safetensors", text_encoder="qwen.safetensors", vae="qwen.safetensors"))
    odd = {"model.norm.weight": torch.ones(32, dtype=torch.int8), "model.norm.weight_scale": torch.ones(1)}
    write_apart(kind, folder, runner.root, qwen=odd)
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


def test_a_training_adapter_is_baked_below_what_is_trained_and_does_not_go_into_the_file(
    runner: NodeRunner, model: DiffusionModel
) -> None:
    (artifact,) = runner.run(SaveSafetensors(precision="fp32", layout="diffusers"), model=trained(runner, model))
    (runner.root / "adapter.safetensors").write_bytes(artifact.file.read_bytes())
    adapted = runner.run(LoadLoRA(file="adapter.safetensors"), model=model)
    base = runner.run(AsModel(), model=model, checkpoint=runner.run(BakeLoRA(), model=adapted))
    torch.testing.assert_close(ours(runner, base, 1.0), ours(runner, adapted, 1.0), rtol=0, atol=1e-4)
    injected, data = runner.run(InjectLoRA(rank=1), model=base), dataset(runner, model)
    learned = runner.run(TrainLoRA(max_steps=2, batch_size=2, learning_rate=0.05), model=injected, **data)
    (artifact,) = runner.run(SaveSafetensors(layout="diffusers"), model=learned)
    assert {tensor.shape[0] for name, tensor in load_file(artifact.file).items() if "lora_A" in name} == {1}


def test_a_whole_model_is_fine_tuned_and_saved_as_a_folder(runner: NodeRunner, model: DiffusionModel, kind: Kind) -> None:
    tuned = runner.run(FineTune(max_steps=2, batch_size=2, learning_rate=1e-2), model=model, **dataset(runner, model))
    (saved,) = runner.run(SavePipeline(precision="fp32"), model=tuned)
    folder = unpacked(saved, runner.root / "saved")
    expected = ours(runner, tuned, 1.0)
    assert (expected - ours(runner, model, 1.0)).abs().max() > 0.01
    torch.testing.assert_close(kind.official(folder, 1.0), expected, rtol=0, atol=1e-4)
    other = runner.run(AsCheckpoint(), model=runner.run(LoadModel(model=kind.make(runner.root / "n", seed=1).name)))
    merged = runner.run(MergeWeighted(ratio=0.0), models=[runner.run(AsCheckpoint(), model=tuned), other])
    found = load_file(runner.run(SaveSafetensors(precision="fp32"), model=merged)[0].file)
    own = load_file(next((folder / "transformer").glob("*.safetensors")))
    assert all(torch.equal(found[f"transformer.{name}"], tensor) for name, tensor in own.items())
    with pytest.raises(InputError, match="not written as one file") as refused:
        runner.run(SaveCheckpoint(), model=tuned)
    assert "SavePipeline" in refused.value.remedy


def test_a_folder_with_half_of_its_shards_is_refused(runner: NodeRunner, model: DiffusionModel, kind: Kind) -> None:
    folder = runner.root / "m" / "transformer"
    whole: Any = kind.transformer.from_pretrained(folder)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    whole.save_pretrained(folder, max_shard_size="50KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    sharded = runner.run(LoadModel(model="m"))
    torch.testing.assert_close(ours(runner, sharded, 1.0), kind.official(runner.root / "m", 1.0), rtol=0, atol=1e-4)
    shards[1].unlink()
    with pytest.raises(InputError, match=f"transformer lacks 1 of its files of weights, such as {shards[1].name}"):
        runner.run(LoadModel(model="m"))


def test_the_language_model_goes_before_the_transformer_comes_when_memory_is_short(
    runner: NodeRunner, model: DiffusionModel, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = sum(file.stat().st_size for file in (runner.root / "m").glob("t*/*.safetensors"))
    monkeypatch.setattr(residency, "memory_of", lambda device: memory)
    RESIDENT.clear()
    expected = kind.official(runner.root / "m", 5.0)
    torch.testing.assert_close(ours(runner, model, 5.0), expected, rtol=0, atol=1e-4)
    assert "text_encoder" not in {name for _, name in RESIDENT.parts()}
    torch.testing.assert_close(ours(runner, model, 5.0), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("type_", "fields", "found"),
    [
        ("TrainHypernet", {}, "t.model: TITLE has no cross-attention"),
        ("TrainTI", {}, "t.model: a new word is hardly learned"),
        ("SaveCheckpoint", {}, "t.model: TITLE is not written as one file"),
        ("InjectLoRA", {"text_encoder": True}, "t.text_encoder: TITLE reads text with a language model"),
        ("TrainLoRA", {"snr_gamma": 5}, "t.snr_gamma: min-SNR weighting is for models that predict noise or velocity"),
        ("SampleImages", {"width": 40}, "t.width: TITLE draws pictures whose sides are multiples of 16 pixels, and 40 is none"),
        ("SampleImages", {"sampler": "euler ancestral"}, "t.sampler: euler ancestral is not for rectified-flow models"),
        ("SampleImages", {"width": 48}, ""),
        ("TrainLoRA", {"shift": 2, "loss_weighting": "cosmap"}, ""),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    runner: NodeRunner, kind: Kind, type_: str, fields: dict[str, Any], found: str
) -> None:
    """The family is known at nodes below LoadModel through the nodes that return models, here InjectLoRA."""
    kind.make(runner.root / "m")
    nodes = {
        "load": {"type": "LoadModel", "fields": {"model": "m"}},
        "inject": {"type": "InjectLoRA"},
        "t": {"type": type_, "fields": fields},
        **{name: {"type": name} for name in ("LoadImages", "CaptionDataset", "EncodeLatents", "EncodeCaptions")},
    }
    nodes["LoadImages"] = {"type": "LoadImages", "fields": {"folder": "p"}}
    runner.picture("p/0.png", text="a thing")
    trained = type_ == "TrainLoRA"
    ends = [
        ("load", "inject.model"),
        ("inject" if trained else "load", "t.models" if type_ == "SampleImages" else "t.model"),
        ("LoadImages", "CaptionDataset.images"),
    ]
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
    expected = found.replace("TITLE", facts(kind.family).title)
    assert f"{problem.node}.{problem.field}: {problem.message}".startswith(expected)
    assert problem.remedy.endswith(".")


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_a_lora_is_baked_into_the_transformers_file_alone(
    runner: NodeRunner, model: DiffusionModel, kind: Kind, prefix: str
) -> None:
    learned = trained(runner, model)
    write_apart(kind, runner.root / "m", runner.root, prefix=prefix)
    baked = runner.run(BakeLoRA(), model=learned, checkpoint=runner.run(LoadCheckpoint(path="m.safetensors")))
    found = load_file(runner.run(SaveSafetensors(precision="fp32"), model=baked)[0].file)
    before, key = load_file(runner.root / "m.safetensors"), f"{prefix}{kind.single_file}.weight"
    tensors, layer = adapter_tensors(learned.adapters[0]), f"unet.{kind.rows[1]}"
    product = tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"] * learned.adapters[0].scale
    torch.testing.assert_close(found[key][32:64] - before[key][32:64], product, rtol=1e-4, atol=1e-5)


def test_embeddings_of_two_families_with_one_language_model_are_told_apart(model: DiffusionModel, kind: Kind) -> None:
    assert model.text_digest.startswith(f"{kind.family} ")


def test_a_distilled_model_says_what_training_does_to_it(runner: NodeRunner, kind: Kind) -> None:
    kind.make(runner.root / "m", **({"shift": 3.0} if kind is Z_IMAGE else {"is_distilled": True}))
    model = runner.run(LoadModel(model="m"))
    assert any("it is distilled" in text and "BakeLoRA" in text for text in runner.messages.texts)
    guided = 5.0 if kind is KLEIN else 1.0  # its pipeline leaves guidance out
    torch.testing.assert_close(ours(runner, model, 1.0), kind.official(runner.root / "m", guided), rtol=0, atol=1e-4)


def test_losses_are_measured_and_the_decoder_is_trained(runner: NodeRunner, model: DiffusionModel) -> None:
    learned, data, loaded = trained(runner, model), dataset(runner, model), images(runner)
    texts = captions(runner, loaded, caption_dropout=0.0)
    rows = runner.run(MeasureLoss(), models=[model, learned, model], latents=data["latents"], captions=texts).rows
    losses = [dict(row.values)["loss"] for row in rows]
    assert losses[0] == losses[2] != losses[1]
    decoder = runner.run(TrainVAE(max_steps=2, batch_size=2, learning_rate=1e-2), model=model, images=loaded)
    assert decoder.vae_digest == model.vae_digest, "its latents are the same"
    fields = {"prompts": "a cat", "num_inference_steps": 1, "sampler": "euler", "width": 32, "height": 32}
    pictures = [runner.run(SampleImages(**fields), models=[each]).images[0].file for each in (decoder, model)]
    assert pictures[0] != pictures[1]
