"""Parts of Stable Diffusion models, and where they are in single files."""

from dataclasses import dataclass

from nodes.diffusion.families.protocol import Part, TextEncoder

UNET = "model.diffusion_model."
AVERAGE = "model_ema."
VAE = "first_stage_model."
FIRST_LAYER = f"{UNET}input_blocks.0.0.weight"


@dataclass(frozen=True)
class EncoderNames:
    """How a text encoder's tensors begin in a single file, and whether OpenCLIP's names or transformers' follow."""

    prefix: str
    open_clip: bool = False
    sgm: str = ""
    """How they begin in files of the code that trained SDXL, such as SD-Turbo's."""


ONE_ENCODER = (
    Part("unet", "unet", "denoiser"),
    Part("vae", "vae", "VAE"),
    TextEncoder("text_encoder_0", "text_encoder", "text encoder"),
    Part("tokenizer_0", "tokenizer", "tokenizer"),
    Part("scheduler", "scheduler", "scheduler"),
)
TWO_ENCODERS = (
    Part("unet", "unet", "denoiser"),
    Part("vae", "vae", "VAE"),
    TextEncoder("text_encoder_0", "text_encoder", "text encoder", penultimate=True),
    Part("tokenizer_0", "tokenizer", "tokenizer"),
    Part("scheduler", "scheduler", "scheduler"),
    Part("tokenizer_1", "tokenizer_2", "tokenizer"),
    TextEncoder("text_encoder_1", "text_encoder_2", "text encoder", penultimate=True, pooled=True),
)
