from .image_variation.model import load_variation as load_variation
