"""Stable Diffusion 2.x (Rombach et al. 2022), with the text encoder of OpenCLIP."""

from nodes.diffusion.families.stable_diffusion.facts.family import StableDiffusionFamily
from nodes.diffusion.families.stable_diffusion.facts.parts import ONE_ENCODER, EncoderNames

SD2 = StableDiffusionFamily(
    name="sd2",
    title="SD 2.x",
    parts=ONE_ENCODER,
    resolution=0,
    input_blocks=12,
    architecture_id="stable-diffusion-v2-512",
    velocity_architecture="stable-diffusion-v2-768-v",
    kohya_version="sd_v2",
    pipelines={
        "text-to-image": "StableDiffusionPipeline",
        "inpainting": "StableDiffusionInpaintPipeline",
        "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
    },
    encoder_names={"text_encoder": EncoderNames("cond_stage_model.model.", open_clip=True, sgm="conditioner.embedders.0.model.")},
    velocity_is_marked=False,
    unused_layer=(22, 23),
)
