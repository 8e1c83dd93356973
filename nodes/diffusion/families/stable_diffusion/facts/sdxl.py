"""SDXL (Podell et al. 2023): two text encoders, and sizes and pooled text beside the timestep."""

from nodes.diffusion.families.stable_diffusion.facts.family import StableDiffusionFamily
from nodes.diffusion.families.stable_diffusion.facts.parts import EncoderNames, parts_with

SDXL = StableDiffusionFamily(
    name="sdxl",
    title="SDXL",
    parts=parts_with(2),
    resolution=1024,
    input_blocks=9,
    architecture_id="stable-diffusion-xl-v1-base",
    kohya_version="sdxl_base_v1-0",
    kohya_marks_velocity=False,
    encoder_names={
        "text_encoder": EncoderNames("conditioner.embedders.0.transformer."),
        "text_encoder_2": EncoderNames("conditioner.embedders.1.model.", open_clip=True),
    },
    label_embedding="add_embedding",
)
