"""Names of transformers whose single files fuse queries, keys and values; elsewhere a table of renamed pieces is enough."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

from nodes.diffusion.families.protocol import Conversion, Counterpart
from nodes.diffusion.families.tensor_names.autoencoder_kl import is_attention_weight, vae_from_ldm, vae_to_ldm

PROJECTION = re.compile(r"(.+\.attention)\.to_([qkv])\.(.+)")
FUSED = re.compile(r"(.+\.attention)\.qkv\.(.+)")
THIRDS: tuple[Conversion, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class FusedAttentionNames:
    """The naming of one model: a folder's parts, and what takes their place at the beginning of names in a single file."""

    denoiser: str
    """The folder of the denoiser."""
    prefixes: Mapping[str, tuple[str, ...]]
    """How a part's tensors begin in single files, by folder: as they are written first, then as others spell them."""
    renamed: Mapping[str, str]
    """Pieces of names in the denoiser's folder, and what files have in their place."""
    vae_blocks: int

    def to_file(self, name: str) -> Counterpart | None:
        """Return the single file's tensor that holds a folder's; None for a name that the family does not have."""
        part, _, inner = name.partition(".")
        found = self._inner_to_file(part, inner) if part in self.prefixes else None
        return Counterpart(self.prefixes[part][0] + found.name, found.conversion) if found else None

    def _inner_to_file(self, part: str, inner: str) -> Counterpart | None:
        if part == "vae":
            found = vae_to_ldm(inner, self.vae_blocks)
            return Counterpart(found, "conv" if is_attention_weight(found) else "") if found else None
        if part != self.denoiser:
            return Counterpart(inner)
        if match := PROJECTION.fullmatch(inner):
            return Counterpart(_replaced(f"{match[1]}.qkv.{match[3]}", self.renamed), THIRDS["qkv".index(match[2])])
        return Counterpart(_replaced(inner, self.renamed))

    def in_file(self, name: str, present: Container[str]) -> Counterpart | None:
        """Return the same among the tensors of one file, which may hold the part alone, in a folder's names too."""
        part, _, inner = name.partition(".")
        if part not in self.prefixes:
            return None
        spelled = [own for own in (self._inner_to_file(part, inner), Counterpart(inner)) if own]
        found = (Counterpart(prefix + own.name, own.conversion) for prefix in self.prefixes[part] for own in spelled)
        return next((own for own in found if own.name in present), None)

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensors that a single file's holds: three where queries, keys and values are fused, () for none."""
        whole = (part for part, prefixes in self.prefixes.items() if name.startswith(prefixes[0]))
        # what no part's name begins with is a denoiser alone
        part = next(whole, self.denoiser)
        spelled = next((prefix for prefix in self.prefixes[part] if name.startswith(prefix)), "")
        inner = name.removeprefix(spelled)
        if part == "vae":
            found = vae_from_ldm(inner, self.vae_blocks)
            return (Counterpart(f"{part}.{found}", "conv" if is_attention_weight(inner) else ""),) if found else ()
        if part != self.denoiser:
            return (Counterpart(f"{part}.{inner}"),)
        inner = _replaced(inner, {theirs: ours for ours, theirs in self.renamed.items()})
        if match := FUSED.fullmatch(inner):
            return tuple(Counterpart(f"{part}.{match[1]}.to_{third}.{match[2]}", third) for third in THIRDS)
        return (Counterpart(f"{part}.{inner}"),)


def _replaced(name: str, pieces: Mapping[str, str]) -> str:
    """Return a name with the one piece that it has replaced, where it begins or ends a step of the name."""
    for old, new in pieces.items():
        if f".{old}." in f".{name}.":
            return f".{name}.".replace(f".{old}.", f".{new}.").strip(".")
    return name
