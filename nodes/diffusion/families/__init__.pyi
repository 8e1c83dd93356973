from .image_variation.model import ImageVariation as ImageVariation, variation_in_use as variation_in_use
from .registry import facts as facts
