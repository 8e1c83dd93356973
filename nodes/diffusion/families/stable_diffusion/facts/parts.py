"""Parts of Stable Diffusion models, and where they are in single files."""

from dataclasses import dataclass, replace

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


UNET_PART = Part("unet", "unet", "denoiser", "diffusers", "UNet2DConditionModel")
VAE_PART = Part("vae", "vae", "VAE", "diffusers", "AutoencoderKL")
SCHEDULER = Part("scheduler", "scheduler", "scheduler", "diffusers", "DDIMScheduler")
TOKENIZER = Part("tokenizer_0", "tokenizer", "tokenizer", "transformers", "CLIPTokenizer")
TOKENIZER_2 = Part("tokenizer_1", "tokenizer_2", "tokenizer", "transformers", "CLIPTokenizer")
TEXT_ENCODER = TextEncoder(
    "text_encoder_0", "text_encoder", "text encoder", "transformers", "CLIPTextModel", ("CLIPTextModelWithProjection",)
)
TEXT_ENCODER_2 = TextEncoder(
    "text_encoder_1", "text_encoder_2", "text encoder", "transformers", "CLIPTextModelWithProjection", ("CLIPTextModel",),
    penultimate=True, pooled=True,
)  # fmt: skip
ONE_ENCODER = (UNET_PART, VAE_PART, TEXT_ENCODER, TOKENIZER, SCHEDULER)
TWO_ENCODERS = (
    UNET_PART, VAE_PART, replace(TEXT_ENCODER, penultimate=True), TEXT_ENCODER_2, TOKENIZER, TOKENIZER_2, SCHEDULER,
)  # fmt: skip
