from .image_variation.model import variation_in_use as variation_in_use
from .stable_diffusion.facts.tensor_names import TEXT as TEXT, layout_of as layout_of
