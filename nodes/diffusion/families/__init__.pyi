from .code import cut_prompts as cut_prompts, encode_prompts as encode_prompts, latent_space as latent_space
from .image_variation.model import ImageVariation as ImageVariation, variation_in_use as variation_in_use
from .registry import facts as facts
