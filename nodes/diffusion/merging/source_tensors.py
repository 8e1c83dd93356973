"""Tensors of a recipe's source: with a moving average or trained weights in place of its own, or a renamed VAE."""

from dataclasses import replace
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import COMPONENT_KINDS
from nodes.diffusion.families.registry import file_prefixes, is_moving_average, moving_average, prefixes
from nodes.diffusion.families.tensor_names.autoencoder_kl import is_attention_weight, vae_blocks, vae_from_ldm, vae_to_ldm
from nodes.diffusion.formats.checkpoint_headers import Entry, Header, read_header, with_changes
from nodes.diffusion.handles.recipes import Source, Spelling

FOLDER_VAE = "vae."
FILE_VAE, *_ = file_prefixes("vae")
IN_FILE = file_prefixes("unet")
PREFIXES: dict[str, tuple[str, ...]] = {component: prefixes(component) for component in COMPONENT_KINDS}
"""Prefixes of each component's tensors, in every layout."""
VAES = PREFIXES["vae"]
MARKS = ("v_pred", "ztsnr")
"""Empty tensors that mark what the UNet predicts."""


def header_of(source: Source, place: Path) -> Header:
    """Return the tensors of a source; raise InputError when it lacks requested ones."""
    own: Header = read_header(place)
    if source.moving_average:
        own = _averaged(own, source.name)
    header = with_changes(own, source.changes)
    if any(header[name] is not entry for name, entry in own.items() if name.startswith(IN_FILE)):  # it averages other weights
        header = {name: entry for name, entry in header.items() if not is_moving_average(name)}
    return header if source.vae_spelling == "own" else _spelled(header, source.vae_spelling)


def holds_average(source: Source, place: Path) -> bool:
    """Return whether a file holds the moving average of its UNet's weights; trained weights have none."""
    own, header = read_header(place), header_of(source, place)
    return any(map(is_moving_average, own)) and (source.moving_average or any(map(is_moving_average, header)))


def _averaged(header: Header, name: str) -> dict[str, Entry]:
    """Return the header with the UNet's moving average in place of its weights."""
    averages = {own: average for own in header if (average := moving_average(own))}
    if not any(average in header for average in averages.values()):
        remedy = "Turn moving_average off, or use the file that is called ema or full."
        raise InputError(f"{name} holds no moving average.", field="moving_average", remedy=remedy)
    return {own: header[average] if (average := averages.get(own, own)) in header else entry for own, entry in header.items()}


def is_part(name: str, parts: tuple[str, ...]) -> bool:
    """Return whether a tensor belongs to one of the parts `unet`, `vae` and `text_encoder`."""
    return (name in MARKS and "unet" in parts) or name.startswith(tuple(prefix for part in parts for prefix in PREFIXES[part]))


def _spelled(header: Header, spelling: Spelling) -> dict[str, Entry]:
    """Return the tensors with those of the VAE renamed as in single files or folders; a VAE's own file has no prefix."""
    bare = "decoder.conv_in.weight" in header
    own = {name: name if bare else name.partition(".")[2] for name in header if bare or name.startswith(VAES)}
    theirs = any(inner.startswith(("decoder.up.", "decoder.mid.")) for inner in own.values())
    blocks = vae_blocks(f"{FOLDER_VAE}{inner}" for inner in own.values())
    found = {name: entry for name, entry in header.items() if name not in own}
    for name, inner in own.items():
        diffusers = vae_from_ldm(inner, blocks) if theirs else inner
        ldm = inner if theirs else vae_to_ldm(inner, blocks)
        if not diffusers or not ldm:
            continue
        entry = header[name]
        if is_attention_weight(ldm):
            shape = entry.shape[:2]
            entry = replace(entry, shape=(*shape, 1, 1) if spelling == "file" else shape)
        found[f"{FILE_VAE}{ldm}" if spelling == "file" else f"{FOLDER_VAE}{diffusers}"] = entry
    return found
