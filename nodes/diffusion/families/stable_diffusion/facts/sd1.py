"""Stable Diffusion 1.x (Rombach et al. 2022)."""

from nodes.diffusion.families.stable_diffusion.facts.family import StableDiffusionFamily
from nodes.diffusion.families.stable_diffusion.facts.parts import EncoderNames, parts_with

SD1 = StableDiffusionFamily(
    name="sd1",
    title="SD 1.x",
    parts=parts_with(1),
    resolution=512,
    input_blocks=12,
    architecture_id="stable-diffusion-v1",
    inpainting_architecture="stable-diffusion-v1-inpainting",
    kohya_version="sd_v1",
    encoder_names={"text_encoder": EncoderNames("cond_stage_model.transformer.")},
)
