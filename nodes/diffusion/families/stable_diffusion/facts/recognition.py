"""Recognition of the Stable Diffusion families, by tensors or folders: the one place that decides."""

from collections.abc import Mapping

from nodes.diffusion.families.protocol import ModelFolder, Shape
from nodes.diffusion.families.stable_diffusion.facts.folders import is_linear
from nodes.diffusion.families.stable_diffusion.facts.parts import UNET
from nodes.diffusion.families.unsupported import unsupported

TEXT_ENCODERS = {
    "conditioner.embedders.0.model.": "sd2",
    "cond_stage_model.transformer.": "sd1",
    "cond_stage_model.model.": "sd2",
    "conditioner.embedders.0.transformer.": "sdxl",
}
"""Families by how the names of their first text encoder begin in single files, the deciding one first."""
UNCLIP_WIDTH = 1024
"""Width of the texts of SD2's unCLIP models, whose UNets take a pooled embedding as SDXL's do."""


def family_of_folder(folder: ModelFolder) -> str:
    """Return the family of a diffusers folder that has all parts, by its text encoders and its UNet."""
    return "sdxl" if "text_encoder_2" in folder.parts else "sd2" if is_linear(folder) else "sd1"


def family_in_file(shapes: Mapping[str, Shape]) -> str | None:
    """Return the family of a single file by its text encoder; None for what has no UNet, or is no such model."""
    if unsupported(shapes) or not any(name.startswith(UNET) for name in shapes):
        return None
    found = (family for prefix, family in TEXT_ENCODERS.items() if any(name.startswith(prefix) for name in shapes))
    return next(found, None)


def family_of_unet(shapes: Mapping[str, Shape]) -> str | None:
    """Return the family of the UNet among tensors in either layout; None where there is none."""
    width = next((shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), None)
    projection = next((shape for name, shape in shapes.items() if name.endswith("proj_in.weight")), None)
    if width is None or projection is None:
        return None
    pooled = any(".label_emb." in name or "add_embedding.linear_1" in name for name in shapes)
    if pooled and width != UNCLIP_WIDTH:
        return "sdxl"
    return "sd2" if len(projection) == 2 else "sd1"
