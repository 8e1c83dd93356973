"""Small random models of each architecture, built from configurations."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.adapters.lora.targets import text_encoder_targets, unet_targets
from nodes.diffusion.devices import Precision
from nodes.diffusion.formats.model_folders import info_of, inspect_folder
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel, Family
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.parts import ModelParts
from nodes.diffusion.models.residency import RESIDENT, PartKey, Residency

BUNDLED = Path(__file__).parent.parent / "nodes" / "models" / "loom_emoji"
WIDTH = 32
"""Width of the text embeddings that the UNet sees."""


def make_model_folder(folder: Path, family: Family, seed: int = 0, *, in_channels: int = 4) -> Path:
    """Write a diffusers folder of a model with tens of thousands of random parameters, native side 16 pixels.

    Its UNet takes 4 channels, 9 for inpainting or 8 for InstructPix2Pix.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _unet(family, in_channels).save_pretrained(folder / "unet")
        _vae().save_pretrained(folder / "vae")
        if family == "sdxl":
            _text_encoder(WIDTH // 2, CLIPTextModel).save_pretrained(folder / "text_encoder")
            _text_encoder(WIDTH // 2, CLIPTextModelWithProjection).save_pretrained(folder / "text_encoder_2")
        else:
            _text_encoder(WIDTH, CLIPTextModel).save_pretrained(folder / "text_encoder")
    _write_tokenizer(folder / "tokenizer", pad="!" if family == "sd2" else "<|endoftext|>")
    if family == "sdxl":
        _write_tokenizer(folder / "tokenizer_2", pad="!")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if family == "sd2" else "epsilon",
    ).save_pretrained(folder / "scheduler")
    return folder


def _unet(family: Family, in_channels: int) -> UNet2DConditionModel:
    options: dict[str, Any] = {"attention_head_dim": 2}
    if family != "sd1":
        options = {"attention_head_dim": (2, 4), "use_linear_projection": True}
    if family == "sdxl":
        options |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + WIDTH,
            "transformer_layers_per_block": (1, 2),
        }
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        **options,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
    )


def _text_encoder(width: int, cls: Any) -> Any:
    # eos_token_id 2 is what SD1 and SDXL folders say, though end-of-text has another number
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=WIDTH,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return cls(config)


def _write_tokenizer(folder: Path, pad: str) -> None:
    """A byte-level tokenizer without merges: one token per letter."""
    folder.mkdir(parents=True)
    known = json.loads((BUNDLED / "tokenizer" / "vocab.json").read_text())
    letters = [name for name in sorted(known, key=known.get) if len(name.removesuffix("</w>")) == 1]
    vocabulary = {name: number for number, name in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    assert len(vocabulary) == 514
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad,
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def handle(folder: Path, **changes: Any) -> DiffusionModel:
    """A handle on a model folder, as LoadModel gives it."""
    facts = inspect_folder(folder)
    model = DiffusionModel(
        digest=str(folder),
        name=folder.name,
        family=facts.family,
        prediction_type=facts.prediction_type,
        resolution=facts.resolution,
        vae_digest=f"{folder}/vae",
        text_digest=f"{folder}/text",
    )
    return replace(model, **changes)


def shared_model(model: DiffusionModel, place: Path, precision: Precision = "fp32") -> ActiveModel:
    """A model with the parts that nodes use too, and no adapters applied."""
    return _active(model, place, precision, RESIDENT)


def fresh_model(place: Path, precision: Precision = "fp32", **changes: Any) -> ActiveModel:
    """A model of a folder or file with parts that nobody else has."""
    return _active(handle(place, **changes), place, precision, Residency())


def _active(model: DiffusionModel, place: Path, precision: Precision, residency: Residency) -> ActiveModel:
    seed, average = model.initial_seed, model.moving_average
    parts = ModelParts(
        place,
        torch.device("cpu"),
        precision,
        info_of(model, place),
        digest=model.digest,
        initial_seed=seed,
        moving_average=average,
        residency=residency,
    )
    return ActiveModel(model, parts)


def another_use(model: ActiveModel, **changes: Any) -> ActiveModel:
    """The same parts used by another handle."""
    return ActiveModel(replace(model.handle, **changes), model.parts)


def set_handle(model: ActiveModel, **changes: Any) -> None:
    """Change what the handle of a model in use says."""
    model.handle = replace(model.handle, **changes)


def resident_parts() -> dict[PartKey, Any]:
    """The parts that are in memory for all nodes, by identity of the model and name of the part."""
    return RESIDENT.parts()


def random_adapter(folder: Path, file: Path, *, rank: int = 2, alpha: float = 1.0, text_encoder: bool = True) -> LowRankAdapter:
    """An adapter over every attention and feed-forward layer whose weights are random, as if it had been trained."""
    adapter = LowRankAdapter(
        rank=rank,
        alpha=alpha,
        unet_targets=unet_targets(handle(folder), folder, "attention and feed-forward"),
        text_encoder_targets=text_encoder_targets(handle(folder), folder, "attention and feed-forward") if text_encoder else (),
        training=(("ss_steps", "7"),),
    )
    generator = torch.Generator().manual_seed(5)
    with apply_adapters([adapter], fresh_model(folder)) as applied:
        tensors = {name: torch.randn(tensor.shape, generator=generator) * 0.3 for name, tensor in applied[0].items()}
    save_file(tensors, file)
    return replace(adapter, weights=file)
