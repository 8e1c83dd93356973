"""What a recipe sees of a file: trained weights in their places, a moving average, some parts only, a VAE under other names."""

from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.layouts.places import TEXT, UNET, VAE, moving_average_name
from nodes.diffusion.layouts.vae_names import is_attention_weight, vae_blocks, vae_from_ldm, vae_to_ldm
from nodes.diffusion.merging.headers import Entry, Header, read_header, with_changes
from nodes.diffusion.merging.values import Source, Spelling

FOLDER_VAE = "vae."
VAES = (VAE, FOLDER_VAE)
PREFIXES = {
    "unet": (UNET, "unet."),
    "vae": VAES,
    "text_encoder": ("text_encoder.", "text_encoder_2.", *(prefix for parts in TEXT.values() for prefix, _ in parts.values())),
}
"""How the tensors of each part begin, in every layout."""
MARKS = ("v_pred", "ztsnr")
"""Empty tensors that say what the UNet predicts."""


def header_of(source: Source, place: Path) -> Header:
    """Return the tensors that a source stands for; raise InputError when it lacks what is asked of it."""
    header: Header = with_changes(read_header(place), source.changes)
    if source.moving_average:
        header = _averaged(header, source.name)
    if source.parts:
        header = _kept(header, source)
    return header if source.vae_spelling == "own" else _spelled(header, source.vae_spelling)


def _averaged(header: Header, name: str) -> dict[str, Entry]:
    """The UNet's moving average in its place."""
    averages = {own: moving_average_name(own) for own in header if own.startswith(UNET)}
    if not any(average in header for average in averages.values()):
        remedy = "Turn moving_average off, or use the file that is called ema or full."
        raise InputError(f"{name} holds no moving average.", field="moving_average", remedy=remedy)
    return {own: header[average] if (average := averages.get(own, own)) in header else entry for own, entry in header.items()}


def _kept(header: Header, source: Source) -> dict[str, Entry]:
    prefixes = tuple(prefix for part in source.parts for prefix in PREFIXES[part])
    found = {name: entry for name, entry in header.items() if name.startswith(prefixes)}
    if not found:
        message = f"{source.name} holds no tensors of {' and '.join(source.parts)}."
        raise InputError(message, field="checkpoint", remedy="Keep other parts, or load another checkpoint.")
    marks = {name: header[name] for name in MARKS if name in header and "unet" in source.parts}
    return found | marks


def _spelled(header: Header, spelling: Spelling) -> dict[str, Entry]:
    """The tensors with the VAE's named as in single files or folders; a VAE's own file has no prefix before its names."""
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
            entry = Entry(entry.file, entry.dtype, (*shape, 1, 1) if spelling == "file" else shape, entry.start)
        found[f"{VAE}{ldm}" if spelling == "file" else f"{FOLDER_VAE}{diffusers}"] = entry
    return found
