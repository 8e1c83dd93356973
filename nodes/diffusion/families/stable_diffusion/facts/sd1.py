"""Stable Diffusion 1.x (Rombach et al. 2022)."""

from nodes.diffusion.families.stable_diffusion.facts.family import StableDiffusionFamily
from nodes.diffusion.families.stable_diffusion.facts.parts import ONE_ENCODER, EncoderNames

SD1 = StableDiffusionFamily(
    name="sd1",
    title="SD 1.x",
    parts=ONE_ENCODER,
    resolution=512,
    input_blocks=12,
    architecture_id="stable-diffusion-v1",
    inpainting_architecture="stable-diffusion-v1-inpainting",
    kohya_version="sd_v1",
    pipelines={
        "text-to-image": "StableDiffusionPipeline",
        "inpainting": "StableDiffusionInpaintPipeline",
        "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
    },
    encoder_names={"text_encoder": EncoderNames("cond_stage_model.transformer.")},
)
