"""One tensor's name in a diffusers folder and in a single file, both ways; pure, by rule, for models of any size.

A diffusers name begins with its part: `unet.`, `vae.`, `text_encoder.`, `text_encoder_2.`. What changes besides the name is told
by a `Change`; the tensors themselves are turned in `tensors.py`.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal

from nodes.diffusion.families.stable_diffusion.facts.text_encoder_names import (
    clip_name,
    from_clip,
    from_open_clip,
    open_clip_name,
)
from nodes.diffusion.families.stable_diffusion.facts.unet_names import UNetShape, unet_from_ldm, unet_shape, unet_to_ldm
from nodes.diffusion.families.stable_diffusion.facts.vae_names import is_attention_weight, vae_blocks, vae_from_ldm, vae_to_ldm
from nodes.diffusion.handles.models import Family

Change = Literal["", "conv", "transposed", "q", "k", "v"]
"""How a tensor of the folder lies in the single file: as it is, [a, b] as [a, b, 1, 1], transposed, or a third of its rows."""

UNET = "model.diffusion_model."
AVERAGE = "model_ema."
VAE = "first_stage_model."
TEXT: dict[Family, dict[str, tuple[str, bool]]] = {
    "sd1": {"text_encoder": ("cond_stage_model.transformer.", False)},
    "sd2": {"text_encoder": ("cond_stage_model.model.", True)},
    "sdxl": {
        "text_encoder": ("conditioner.embedders.0.transformer.", False),
        "text_encoder_2": ("conditioner.embedders.1.model.", True),
    },
}
"""Where the text encoders of a family lie in a single file, and whether they are named as OpenCLIP names them."""
SGM_SD2 = "conditioner.embedders.0.model."
"""Where SD2's lies in files of the code that trained SDXL, such as SD-Turbo's."""


@dataclass(frozen=True)
class Layout:
    """What the names depend on besides the family: the UNet's blocks and the number of the VAE's."""

    family: Family
    unet: UNetShape
    vae_blocks: int


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the other layout, and how it is changed on the way from the folder to the single file."""

    name: str
    change: Change = ""


def layout_of(names: Iterable[str], family: Family) -> Layout:
    """Return the layout of a model from the names of its tensors, in a folder or in a single file."""
    known = list(names)
    return Layout(family, unet_shape(known, UNET), vae_blocks(known))


def single_file_place(name: str, layout: Layout) -> Place | None:
    """Return where a folder's tensor lies in a single file; None for names that are in no part of the family."""
    part, _, inner = name.partition(".")
    if part == "unet":
        found = unet_to_ldm(inner, layout.unet)
        return Place(UNET + found) if found else None
    if part == "vae":
        found = vae_to_ldm(inner, layout.vae_blocks)
        return Place(VAE + found, "conv" if is_attention_weight(found) else "") if found else None
    if part not in TEXT[layout.family]:
        return None
    prefix, fused = TEXT[layout.family][part]
    if not fused:
        return Place(prefix + clip_name(inner))
    found = open_clip_name(inner)
    return Place(prefix + found[0], found[1]) if found else None


def in_file(name: str, layout: Layout, names: Container[str]) -> Place | None:
    """Return where a folder's tensor lies in one very file.

    Older merges name SD1's text encoder without `text_model.`; SD2's may have the place that SDXL's first one has.
    """
    if not (place := single_file_place(name, layout)):
        return None
    prefix, _ = TEXT["sd2"]["text_encoder"]
    known = (place.name, place.name.replace(".text_model.", "."), place.name.replace(prefix, SGM_SD2))
    return next((Place(spelled, place.change) for spelled in known if spelled in names), None)


def one_spelling(name: str) -> str:
    """Return what the spellings that `in_file` knows of a tensor have in common, in files and in folders."""
    prefix, _ = TEXT["sd2"]["text_encoder"]
    return name.replace(".text_model.", ".").replace(SGM_SD2, prefix)


def folder_places(name: str, layout: Layout) -> tuple[Place, ...]:
    """Return where a single file's tensor lies in a folder: thrice where queries, keys and values are fused; () for no place.

    Text encoders are named with `text_model.`, as published folders are.
    """
    if name.startswith(UNET):
        found = unet_from_ldm(name.removeprefix(UNET), layout.unet, pooled=layout.family == "sdxl")
        return (Place(f"unet.{found}"),) if found else ()
    if name.startswith(VAE):
        found = vae_from_ldm(name.removeprefix(VAE), layout.vae_blocks)
        change: Change = "conv" if is_attention_weight(name) else ""
        return (Place(f"vae.{found}", change),) if found else ()
    parts = TEXT[layout.family]
    if layout.family == "sd2" and name.startswith(SGM_SD2):
        parts = {"text_encoder": (SGM_SD2, True)}
    for part, (prefix, fused) in parts.items():
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            if fused:
                return tuple(Place(f"{part}.{own}", how) for own, how in from_open_clip(inner))
            own = from_clip(inner)
            return (Place(f"{part}.{own}"),) if own else ()
    return ()


def moving_average_name(name: str) -> str:
    """Return the name under which LDM keeps the moving average of a UNet's tensor."""
    return AVERAGE + name.removeprefix("model.").replace(".", "")
