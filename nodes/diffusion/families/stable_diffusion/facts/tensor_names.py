"""One tensor's name in a diffusers folder and in a single file, both ways; pure, by rule, for models of any size.

A diffusers name begins with its part: `unet.`, `vae.`, `text_encoder.`, `text_encoder_2.`.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from nodes.diffusion.families.protocol import Counterpart
from nodes.diffusion.families.stable_diffusion.facts.parts import AVERAGE, UNET, VAE, EncoderNames
from nodes.diffusion.families.stable_diffusion.facts.unet_names import UNetShape, unet_from_ldm, unet_to_ldm
from nodes.diffusion.families.tensor_names.autoencoder_kl import is_attention_weight, vae_from_ldm, vae_to_ldm
from nodes.diffusion.families.tensor_names.clip import clip_name, from_clip, from_open_clip, open_clip_name


@dataclass(frozen=True)
class LdmNames:
    """The naming of one model: its text encoders, and what the other names depend on."""

    encoders: Mapping[str, EncoderNames]
    label_embedding: str
    """The layer that is called `label_emb` in single files."""
    unet: UNetShape
    vae_blocks: int

    def to_file(self, name: str) -> Counterpart | None:
        """Return the single file's tensor that holds a folder's; None for a name that the family does not have."""
        part, _, inner = name.partition(".")
        if part == "unet":
            found = unet_to_ldm(inner, self.unet)
            return Counterpart(UNET + found) if found else None
        if part == "vae":
            found = vae_to_ldm(inner, self.vae_blocks)
            return Counterpart(VAE + found, "conv" if is_attention_weight(found) else "") if found else None
        if part not in self.encoders:
            return None
        encoder = self.encoders[part]
        if not encoder.open_clip:
            return Counterpart(encoder.prefix + clip_name(inner))
        found = open_clip_name(inner)
        return Counterpart(encoder.prefix + found[0], found[1]) if found else None

    def in_file(self, name: str, present: Container[str]) -> Counterpart | None:
        """Return the same among the tensors of one file.

        Older merges name SD1's text encoder without `text_model.`; SD2's may be where SDXL's first one is. A VAE's own file has
        no prefix, and a folder's names or LDM's.
        """
        part, _, inner = name.partition(".")
        if part == "vae" and inner in present:
            return Counterpart(inner)
        if not (found := self.to_file(name)):
            return None
        known = [found.name, found.name.replace(".text_model.", ".")]
        known += [found.name.removeprefix(VAE)] if part == "vae" else []
        known += [found.name.replace(encoder.prefix, encoder.sgm) for encoder in self.encoders.values() if encoder.sgm]
        return next((Counterpart(spelled, found.conversion) for spelled in known if spelled in present), None)

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensors that a single file's holds: three where queries, keys and values are fused, () for none.

        Text encoders are named with `text_model.`, as published folders are.
        """
        if name.startswith(UNET):
            found = unet_from_ldm(name.removeprefix(UNET), self.unet, self.label_embedding)
            return (Counterpart(f"unet.{found}"),) if found else ()
        if name.startswith(VAE):
            found = vae_from_ldm(name.removeprefix(VAE), self.vae_blocks)
            return (Counterpart(f"vae.{found}", "conv" if is_attention_weight(name) else ""),) if found else ()
        for part, encoder in self.encoders.items():
            for prefix in filter(None, (encoder.prefix, encoder.sgm)):
                if name.startswith(prefix):
                    return _text_tensors(part, name.removeprefix(prefix), encoder)
        return ()


def _text_tensors(part: str, inner: str, encoder: EncoderNames) -> tuple[Counterpart, ...]:
    if encoder.open_clip:
        return tuple(Counterpart(f"{part}.{own}", conversion) for own, conversion in from_open_clip(inner))
    own = from_clip(inner)
    return (Counterpart(f"{part}.{own}"),) if own else ()


def moving_average_name(name: str) -> str:
    """Return the name under which LDM keeps the moving average of a UNet's tensor."""
    return AVERAGE + name.removeprefix("model.").replace(".", "")
