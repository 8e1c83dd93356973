"""Files that no family opens, by the names of their tensors."""

from collections.abc import Mapping

UNSUPPORTED_ARCHITECTURES = {
    "single_stream_modulation.lin.": "FLUX.2 dev",
    ".joint_blocks.": "Stable Diffusion 3",
    ".double_blocks.": "Flux",
    "lora_unet_": "a LoRA",
    ".lora_A.": "a LoRA",
    "lora_te": "a LoRA",
    "control_model.": "a ControlNet",
    "embedder.model.visual.": "an unCLIP model of SD 2.x, whose diffusers folder LoadImageVariation opens",
    "edm_vpred.sigma": "a model of EDM's noise levels (CosXL)",
    "edm_mean": "a model of EDM's noise levels (Playground)",
}
"""What a file holds, by a part of its tensors' names."""
REFINER = ("conditioner.embedders.0.model.ln_final.weight", (1280,))
"""The tensor, and its shape, by which the refiner of SDXL is known."""


def unsupported(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return what a file is that cannot be opened, None when nothing says so."""
    for mark, kind in UNSUPPORTED_ARCHITECTURES.items():
        if any(mark in name for name in shapes):
            return kind
    name, shape = REFINER
    return "the refiner of SDXL" if shapes.get(name) == shape else None
