from .image_variation.model import load_variation as load_variation
from .registry import facts as facts
