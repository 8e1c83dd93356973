"""Small random bases conditioned on a CLIP image embedding, of both kinds, in the layouts of diffusers."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from nodes.diffusion.families.image_variation.folders import UNCLIP_PARTS, VARIATION_PARTS, inspect_variation
from nodes.diffusion.families.image_variation.model import ImageVariation
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.models.parts import ModelParts
from nodes.diffusion.models.residency import RESIDENT, Residency
from tests.models import WIDTH, make_model_folder

KINDS = ["image variation", "unclip"]


def make_variation_folder(folder: Path, kind: str, *, prediction_type: str = "epsilon", seed: int = 0) -> Path:
    """Write a base with tens of thousands of random parameters, native side 16 pixels, embeddings of `WIDTH`."""
    make_model_folder(folder, "sd1", seed)
    add_image_encoder(folder, seed)
    scheduler: Any = DDIMScheduler.from_pretrained(folder / "scheduler")
    DDIMScheduler.from_config(scheduler.config, prediction_type=prediction_type).save_pretrained(folder / "scheduler")
    if kind == "unclip":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = UNet2DConditionModel.load_config(folder / "unet")
            wanted = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * WIDTH}
            UNet2DConditionModel.from_config(config, **wanted).save_pretrained(folder / "unet")
            normalizer = StableUnCLIPImageNormalizer(WIDTH)
            normalizer.mean.data.normal_()
            normalizer.std.data.uniform_(0.5, 2)
            normalizer.save_pretrained(folder / "image_normalizer")
        DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(folder / "image_noising_scheduler")
    return folder


def add_image_encoder(folder: Path, seed: int = 0, width: int = WIDTH) -> None:
    """Write a CLIP image encoder that projects to `width`, and how pictures are prepared for it."""
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=width,
        initializer_factor=20.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    (folder / "feature_extractor").mkdir()
    processing = {
        "crop_size": {"height": 16, "width": 16},
        "size": {"shortest_edge": 16},
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
        "image_processor_type": "CLIPImageProcessor",
    }
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(processing))


def base_of(folder: Path, residency: Residency = RESIDENT) -> ImageVariation:
    """The base in memory."""
    parts = {name: folder / name for name in (*VARIATION_PARTS, *UNCLIP_PARTS) if (folder / name).is_dir()}
    facts = inspect_variation(parts)
    shared = ModelParts(folder, torch.device("cpu"), "fp32", facts.model, elsewhere=parts, residency=residency)
    info = facts.model
    handle = DiffusionModel(
        digest="base", name="base", family=info.family, prediction_type=info.prediction_type, resolution=info.resolution
    )
    return ImageVariation(ActiveModel(handle, shared), facts.conditioning)
