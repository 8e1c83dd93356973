"""Parts of Stable Diffusion models, and where they are in single files."""

from dataclasses import dataclass

from nodes.diffusion.families.protocol import Part

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


def parts_with(text_encoders: int) -> tuple[Part, ...]:
    """Return the parts of a model with so many text encoders, in the order in which a folder is checked."""
    endings = ["", "_2"][:text_encoders]
    text = [
        part
        for number, ending in enumerate(endings)
        for part in (
            Part(f"text_encoder_{number}", f"text_encoder{ending}", "text encoder"),
            Part(f"tokenizer_{number}", f"tokenizer{ending}", "tokenizer"),
        )
    ]
    return (
        Part("unet", "unet", "denoiser"),
        Part("vae", "vae", "VAE"),
        *text[:2],
        Part("scheduler", "scheduler", "scheduler"),
        *reversed(text[2:]),
    )
