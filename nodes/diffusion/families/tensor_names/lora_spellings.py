"""Spellings of a transformer's layers in LoRA files: musubi-tuner, ai-toolkit, OneTrainer, LyCORIS, diffusers, ComfyUI."""

from collections.abc import Callable, Iterable

from nodes.diffusion.families.protocol import Counterpart, Rows

PREFIXES = (
    "diffusion_model",
    "model.diffusion_model",
    "transformer",
    "lora_unet",
    "lora_transformer",
    "lycoris",
    "base_model.model",
    "unet",
)


def finder(
    layers: Iterable[str], to_file: Callable[[str], Counterpart | None], file_prefix: str, folder: str
) -> Callable[[str], tuple[str, ...]]:
    """Return the function from a name in a LoRA file to the layers that it spells, () for none.

    `layers` begin with `unet.`; `to_file` gives the single file's tensor of a layer's weight. A name of fused layers spells all
    of them, in the order of their rows.
    """
    known: dict[str, dict[int, str]] = {}
    for layer in layers:
        name = layer.removeprefix("unet.")
        known.setdefault(_plain(name), {})[0] = layer
        theirs = to_file(name)
        if theirs and theirs.conversion == "swapped":  # programs differ in which half of a LoRA's rows comes first
            continue
        if theirs and (spelled := theirs.name.removeprefix(file_prefix).removesuffix(".weight")) != name:
            index = theirs.conversion.index if isinstance(theirs.conversion, Rows) else 0
            known.setdefault(_plain(spelled), {})[index] = layer
    prefixes = sorted((_plain(prefix) for prefix in (*PREFIXES, folder)), key=len, reverse=True)

    def layers_of(spelled: str) -> tuple[str, ...]:
        inner = _plain(spelled)
        while not (found := known.get(inner, {})):  # some programs put one prefix before another
            prefix = next((prefix for prefix in prefixes if inner.startswith(f"{prefix}_")), None)
            if prefix is None:
                return ()
            inner = inner.removeprefix(f"{prefix}_")
        return tuple(layer for _, layer in sorted(found.items()))

    return layers_of


def _plain(name: str) -> str:
    return name.replace(".", "_")
