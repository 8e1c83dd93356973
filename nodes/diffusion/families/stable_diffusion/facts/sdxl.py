"""SDXL (Podell et al. 2023): two text encoders, and sizes and pooled text beside the timestep."""

from nodes.diffusion.families.protocol import Refusal
from nodes.diffusion.families.stable_diffusion.facts.family import StableDiffusionFamily
from nodes.diffusion.families.stable_diffusion.facts.parts import TWO_ENCODERS, EncoderNames

EARLIER = "Use a model of the SD 1.x or SD 2.x family."
SDXL = StableDiffusionFamily(
    name="sdxl",
    title="SDXL",
    parts=TWO_ENCODERS,
    resolution=1024,
    input_blocks=9,
    architecture_id="stable-diffusion-xl-v1-base",
    kohya_version="sdxl_base_v1-0",
    kohya_marks_velocity=False,
    pipelines={
        "text-to-image": "StableDiffusionXLPipeline",
        "inpainting": "StableDiffusionXLInpaintPipeline",
        "instruct-pix2pix": "StableDiffusionXLInstructPix2PixPipeline",
    },
    empty_components=(),
    zeros_when_unconditional=True,
    encoder_names={
        "text_encoder": EncoderNames("conditioner.embedders.0.transformer."),
        "text_encoder_2": EncoderNames("conditioner.embedders.1.model.", open_clip=True),
    },
    label_embedding="add_embedding",
    embedding_names=("clip_l", "clip_g"),
    refusals={
        "aesthetic gradient": Refusal(
            "aesthetic gradients need one text encoder; SDXL has two.", "Use a Stable Diffusion 1.x model."
        ),
        "CLIP training": Refusal("SDXL has two text encoders.", EARLIER),
        "image variation": Refusal("SDXL's UNet needs a pooled text embedding beside the context.", EARLIER),
        "custom diffusion file": Refusal(
            "diffusers has no such file for SDXL.",
            "Save the whole model with SavePipeline, and the words with SaveEmbedding.",
        ),
        "A1111 embedding": Refusal(
            "the A1111 layout has no place for SDXL's two encoders.",
            "Choose the safetensors layout, which AUTOMATIC1111 reads too.",
        ),
    },
)
