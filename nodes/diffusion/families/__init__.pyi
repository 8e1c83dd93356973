from .image_variation.model import load_variation as load_variation
from .stable_diffusion.facts.tensor_names import TEXT as TEXT, layout_of as layout_of
